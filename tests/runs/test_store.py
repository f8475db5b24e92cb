import os
import shutil
import subprocess
import sys

import pytest

from peftlens.runs import store
from peftlens.runs.lock import RunLockedError, lock_owners, lock_run
from peftlens.runs.run import Run
from peftlens.runs.store import build

HOLD = """
import sys, time
from pathlib import Path
from peftlens.runs.store import build
def fill(folder):
    (folder / "half").write_text("half")
    print("held", flush=True)
    time.sleep(60)
build(Path(sys.argv[1]), "abc", fill)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that builds run `abc`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_run_under_construction_is_not_swept(other, tmp_path):  # noqa: ARG001
    assert store.sweep(tmp_path) == 0


def test_what_a_dead_process_held_is_free_and_what_it_left_is_swept(other, tmp_path):
    other.kill()
    other.wait()
    assert (tmp_path / ".claim-abc").exists()  # and nobody is hindered by it
    assert lock_owners(tmp_path) == {}
    assert store.sweep(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []
    build(tmp_path, "abc", lambda folder: (folder / "whole").touch())
    assert (tmp_path / "abc" / "whole").exists()


def test_a_process_killed_between_fsync_and_rename_leaves_no_run(tmp_path):
    killed = HOLD.replace("time.sleep(60)", "").replace(
        "def fill", "import os\nos.rename = lambda *_: os.kill(os.getpid(), 9)\ndef fill"
    )
    done = subprocess.run([sys.executable, "-c", killed, str(tmp_path)], stdout=subprocess.PIPE)
    assert done.returncode == -9
    (left,) = tmp_path.glob(".tmp-abc-*")  # whole, and yet it is no run
    assert (left / "half").read_text() == "half"
    assert not (tmp_path / "abc").exists()
    assert store.sweep(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_claim_is_given_back_whatever_happens(tmp_path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            build(tmp_path, "abc", lambda folder: (folder / "half").touch() or 1 / 0)
        assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_built_again(tmp_path):
    for _ in range(2):
        assert build(tmp_path, "abc", lambda folder: (folder / "once").mkdir()) == tmp_path / "abc"
    with lock_run(tmp_path, "abc"):  # nor does anybody wait for who looks at it
        build(tmp_path, "abc", lambda _: pytest.fail("built again"))


def test_old_temporary_files_are_swept_and_new_ones_are_not(tmp_path):
    probes = tmp_path / "runs" / "abc" / "probes"
    probes.mkdir(parents=True)
    old, new = probes / ".tmp-old", tmp_path / ".tmp-new"
    old.touch()
    new.touch()
    os.utime(old, (1, 1))
    assert store.sweep(tmp_path / "runs") == 1
    assert (old.exists(), new.exists()) == (False, True)


@pytest.fixture
def sealed(tmp_path):
    """A folder with digests; what is in it does not matter here."""

    def fill(folder):
        for name in ("run.json", "metrics.jsonl", "adapter.safetensors"):
            (folder / name).write_text(name)
        store.seal(folder)

    return build(tmp_path / "runs", "abc", fill)


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl", "digests.json"])
def test_any_flipped_byte_is_found(sealed, name):
    assert store.damage(Run(sealed)) is None
    data = bytearray((sealed / name).read_bytes())
    data[3] ^= 1
    (sealed / name).write_bytes(data)
    assert f"{name} is" in (store.damage(Run(sealed)) or "")


def test_weights_are_compared_when_they_are_read(sealed):
    weights = sealed / "adapter.safetensors"
    weights.write_text("other")
    assert store.damage(Run(sealed)) is None
    assert store.damage(Run(sealed), weights=True)
    with pytest.raises(ValueError, match="contents have changed"):
        Run(sealed).verify([weights.name])
    weights.unlink()
    assert store.damage(Run(sealed)) == f"{weights} is missing"


def test_finished_and_damaged_runs_are_told_apart(sealed):
    runs = sealed.parent
    (runs / "empty").mkdir()
    done, damaged = store.finished(runs, ["abc", "empty", "missing"])
    assert (done, list(damaged)) == ({"abc"}, ["empty"])
    assert store.finished(runs / "nowhere", ["abc"]) == (set(), {})


def test_quarantine_keeps_all_and_takes_nothing_that_is_whole(sealed):
    runs = sealed.parent
    assert store.quarantine(runs, "abc") is None
    (sealed / "adapter.safetensors").write_text("other")
    first = store.quarantine(runs, "abc")
    assert store.quarantine(runs, "abc") is None  # another process has done it
    (runs / "abc").mkdir()
    second = store.quarantine(runs, "abc")
    assert (first.name, second.name) == ("abc-0", "abc-1")
    assert (first / "run.json").exists()
    shutil.rmtree(first)
    (runs / "abc").mkdir()
    assert store.quarantine(runs, "abc").name == "abc-0"  # abc-1 is still there
    with lock_run(runs, "abc"), pytest.raises(RunLockedError):
        store.quarantine(runs, "abc")
