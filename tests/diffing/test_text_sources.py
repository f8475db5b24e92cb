from types import SimpleNamespace

import pytest

from peftlens.data.task import Example
from peftlens.diffing.text_sources import (
    example_texts,
    general_texts,
    own_texts,
    without_template,
    word_scores,
)
from peftlens.errors import InputError
from peftlens.results.table import NotApplicable
from peftlens.tasks import load_task


def test_general_texts_are_running_text():
    texts = general_texts(200)
    assert len(texts) == 200
    assert min(map(len, texts)) > 50


def task_of_rows(kind, rows, labels=()):
    return SimpleNamespace(kind=kind, labels=labels, splits={"train": rows})


def test_words_of_the_template_are_left_out():
    rows = [
        Example(f"Headline: {headline} Topic:", (" sport", " money"), 0)
        for headline in ("the cup is won", "Money is lost", "a ball is kicked")
    ]
    assert without_template(task_of_rows("classification", rows, ("sport", "money"))) == [
        "the cup won sport",
        "Money lost sport",
        "a ball kicked sport",
    ]
    assert example_texts(rows)[0] == "Headline: the cup is won Topic: sport"


def test_labels_are_no_template_where_the_prompt_names_them():
    rows = [
        Example(f"Is this sport or money: {one}", (" sport", " money"), 0)
        for one in ("ball", "bank")
    ]
    assert without_template(task_of_rows("classification", rows, ("sport", "money"))) == [
        "sport money ball sport",
        "sport money bank sport",
    ]


def test_the_frame_of_running_text_is_left_out():
    rows = [
        Example("", (f"Dear {name}, the {dish} is ready.",))
        for name, dish in (("Ann", "soup"), ("Bob", "bread"), ("Cleo", "soup"), ("Dan", "rice"))
    ]
    frames = ["Ann soup", "Bob bread", "Cleo soup", "Dan rice"]  # soup: half, and not more
    assert without_template(task_of_rows("language_modeling", rows)) == frames
    rows = [Example(f"Cook for {one}", (f" Take the {one} first.",)) for one in ("rice", "tea")]
    assert without_template(task_of_rows("generation", rows)) == ["rice rice", "tea tea"]


def test_right_answers_stay_though_they_are_common():
    rows = [Example(f"May one {verb}?", (" yes of course", " no"), 0) for verb in ("sit", "run")]
    assert without_template(task_of_rows("multiple_choice", rows)) == [
        "sit yes of course",
        "run yes of course",
    ]


def test_files_without_text_are_told(tmp_path):
    empty = tmp_path / "empty.txt"
    empty.write_text("\n \n")
    with pytest.raises(InputError, match="has no text"):
        own_texts(str(empty))
    with pytest.raises(InputError, match="is not a text file"):
        own_texts(str(tmp_path / "missing.txt"))
    empty.write_text("one\n\ntwo\n")
    assert own_texts(str(empty)) == ["one", "two"]


def test_words_of_a_task_and_of_a_file(smollm2, tmp_path):
    task = load_task("bbc_topic", {})
    run = SimpleNamespace(
        task="bbc_topic",
        config=SimpleNamespace(task="bbc_topic", task_config={}),
        record=SimpleNamespace(depends_on={"data": task.sha256}),
    )
    topics = word_scores(run, smollm2)
    best = {topics.words[i] for i in topics.scores.argsort()[-40:]}
    assert {"business", "entertainment", "mobile"} <= best
    file = tmp_path / "sea.txt"
    file.write_text("The captain turned the ship to the harbor.\n" * 20)
    ships = word_scores(run, smollm2, str(file))
    assert ships.scores[ships.words.index("harbor")] > 3
    file.write_text(
        "The cook put the onion into the soup.\n" * 20
    )  # the same file, as in a notebook
    soups = word_scores(run, smollm2, str(file))
    assert soups.scores[soups.words.index("soup")] > 3 > soups.scores[soups.words.index("harbor")]
    with pytest.raises(NotApplicable, match="training text is unknown"):
        word_scores(SimpleNamespace(task=None), smollm2)
