from functools import partial

import pytest
import tqdm.auto

from peftlens.io import progress
from peftlens.io.progress import bar, progress_listener, say, track


def test_track_gives_every_item_and_draws_nothing_off_a_terminal(capsys):
    assert list(track([1, 2, 3], "Counting")) == [1, 2, 3]
    assert capsys.readouterr().err == ""


def test_a_notebook_has_a_bar_of_tqdm(capsys, monkeypatch):
    monkeypatch.setattr(progress.console, "is_jupyter", True)
    monkeypatch.setattr(tqdm.auto, "tqdm", partial(tqdm.auto.tqdm, mininterval=0))
    with bar("Training lora", 2) as shown:
        shown.advance("loss 0.7")
        shown.advance("loss 0.5")
    err = capsys.readouterr().err
    assert "Training lora:   0%|" in err
    assert "2/2" in err
    assert "loss 0.5" in err


@pytest.mark.parametrize("notebook", [False, True])
def test_listeners_hear_of_every_step(monkeypatch, notebook):
    monkeypatch.setattr(progress.console, "is_jupyter", notebook)
    heard = []
    with progress_listener(lambda *message: heard.append(message)):
        list(track("ab", "Counting"))
    assert heard == [("Counting", 0, 2), ("Counting", 1, 2), ("Counting", 2, 2)]


@pytest.mark.parametrize("notebook", [False, True])
def test_a_bar_starts_where_earlier_steps_have_ended(monkeypatch, capsys, notebook):
    monkeypatch.setattr(progress.console, "is_jupyter", notebook)
    heard = []
    with progress_listener(lambda *message: heard.append(message)), bar("On", 5, 3) as shown:
        shown.advance()
    assert heard == [("On", 3, 5), ("On", 4, 5)]
    assert ("3/5" in capsys.readouterr().err) == notebook


def test_say_prints_brackets_literally(capsys):
    say("[1/2] [bold]lora[/bold]")
    assert capsys.readouterr().err == "[1/2] [bold]lora[/bold]\n"


def test_a_sentence_is_wrapped_at_80_columns(capsys):
    progress.say_wrapped(f"  lora: {'word ' * 30}")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) <= 80
    assert lines[1].startswith("    word")
