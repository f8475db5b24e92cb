import re

import pytest

from peftlens.runs import store
from peftlens.runs.lock import lock_run
from peftlens.runs.paused import Pause, keep_paused, latest, pause, paused_run, paused_runs
from peftlens.runs.run import runs_in


@pytest.fixture
def pause_at(tmp_path):
    """Pause run `abc` of this folder after a step."""

    def make(step, scores=None, run="abc"):
        folder = tmp_path / f".tmp-{run}-x"
        (folder / "checkpoints" / "1").mkdir(parents=True)
        (folder / "checkpoints" / "1" / "weights").write_text("weights")
        pause(Pause(run=run, step=0).at(step, scores or {"validation_loss": 0.1}), folder)
        return keep_paused(folder, tmp_path, run, step)

    return make


def test_the_latest_pause_not_beyond_a_step_is_found(pause_at, tmp_path):
    assert latest(tmp_path, "abc", 100) is None
    first = pause_at(9)
    assert latest(tmp_path, "abc", 8) is None
    assert latest(tmp_path, "abc", 9) == first
    assert first.scores == {"validation_loss": 0.1}
    later = pause_at(10)
    assert latest(tmp_path, "abc", 100) == later
    assert not first.path.exists()
    assert latest(tmp_path, "ab", 100) is None


def test_times_add_up_and_peaks_do_not():
    contents = Pause(run="abc", step=2, seconds=1.5).after(2.0, 30).after(1.0, 20).after(0.5, None)
    assert (contents.seconds, contents.peak_memory_bytes) == (5.0, 30)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("pause.json", "{}", "pause.json has changed since the run was paused"),
        ("checkpoints/1/weights", "other", "weights has changed since the run was paused"),
        ("digests.json", "{", "is damaged .*JSON"),
        ("checkpoints/1/weights", None, r"weights can't be read \(No such file"),
        ("digests.json", None, r"digests.json can't be read \(No such file"),
    ],
)
def test_a_damaged_pause_is_reported_in_a_line(pause_at, tmp_path, capsys, name, text, reason):
    file = pause_at(5).path / name
    file.unlink() if text is None else file.write_text(text)
    assert latest(tmp_path, "abc", 100) is None
    (line,) = capsys.readouterr().err.splitlines()
    assert list(tmp_path.iterdir()) == []
    assert re.search(reason, line)


def test_a_pause_of_another_run_or_step_is_damaged(pause_at, tmp_path, capsys):
    pause_at(5).path.rename(paused_run(tmp_path, "abc", 6).path)
    pause_at(5, run="abd").path.rename(paused_run(tmp_path, "abc", 7).path)
    assert latest(tmp_path, "abc", 100) is None
    assert [
        line.split(": ")[0].split(", ")[1] for line in capsys.readouterr().err.splitlines()
    ] == [
        "that of run abd at 5",
        "that of run abc at 5",
    ]


def test_a_paused_run_is_neither_a_run_nor_garbage(pause_at, tmp_path):
    paused = pause_at(5)
    assert store.sweep(tmp_path) == 0
    assert store.finished(tmp_path, ["abc"]) == (set(), {})
    assert runs_in(tmp_path) == []
    assert paused_runs(tmp_path) == [paused]
    assert latest(tmp_path, "abc", 5) == paused


def test_pauses_of_a_finished_run_are_deleted(pause_at, tmp_path):
    pause_at(5)
    other = pause_at(5, run="other")
    store.build(tmp_path, "abc", lambda folder: (folder / "whole").touch())
    assert paused_runs(tmp_path) == [other]
    pause_at(5)  # as if the process had died before the deletion
    with lock_run(tmp_path, "abc"):
        assert store.sweep(tmp_path) == 0
    assert store.sweep(tmp_path) == 1
    assert paused_runs(tmp_path) == [other]


def test_a_deletion_that_was_cut_off_is_finished(pause_at, tmp_path):
    pause_at(5)
    (tmp_path / ".tmp-abc-5" / "half").mkdir(parents=True)
    pause_at(6)
    assert [entry.name for entry in tmp_path.iterdir()] == [".paused-abc-6"]
