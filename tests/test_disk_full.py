"""A disk that is full at each moment of a study: a file system of its own, filled by the page."""

import errno
import os
import subprocess

import pytest
from fast_study import contents

from peftlens.reports import page
from peftlens.runs.run import runs_in
from peftlens.studies import runner
from peftlens.studies.runner import StudyOptions
from peftlens.studies.status import study_status

pytestmark = pytest.mark.long

PAGE = 4096  # bytes that a tmpfs gives out at a time


@pytest.fixture
def file(tiny_study, tmp_path):
    path = tmp_path / "full.toml"
    settings = 'dtype = "float32"\nprobes = ["parameter_count", "task_items", "task_accuracy"]'
    training = "max_steps = 2\nbatch_size = 4\ncheckpoint_steps = [0]"
    runs = ('method = "frozen"', 'method = "lora"')
    path.write_text(tiny_study(*runs, settings=settings, training=training))
    return path


@pytest.fixture
def disk(tmp_path):
    """An empty disk of 12 MB."""
    if os.geteuid() and "CI" not in os.environ:
        pytest.skip("mounting a file system needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def free(folder):
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def test_whatever_can_not_be_written_nothing_is_lost(file, disk):
    how, out, filler = StudyOptions(workers=0), disk / "out", disk / "filler"
    stopped_at, before, pages = [], {}, 1
    while pages < 4000:
        filler.unlink(missing_ok=True)  # so many pages are free for what is not written yet
        filler.write_bytes(bytes(max(0, free(disk) - PAGE * pages)))
        try:
            outcome = runner.run_study(file, out, how)
            page.write(out)
            break
        except OSError as error:
            assert error.errno == errno.ENOSPC
        now = contents(out / "runs")
        assert before.items() <= now.items()  # finished runs, with what was measured of them
        assert all(run.record.status == "finished" for run in runs_in(out / "runs"))
        assert not [left for left in out.rglob(".*") if left.is_file()]
        stopped_at.append(len(runs_in(out / "runs")))
        pages = 1 if len(now) > len(before) else pages + 1 + pages // 8
        before = now
    assert (outcome.failed, outcome.left, len(outcome.runs)) == ((), 0, 2)
    assert {*stopped_at} == {0, 1, 2}  # at the study's own files, at each run's, at the tables
    assert len(stopped_at) > 30
    assert before.items() <= contents(out / "runs").items()


def test_a_disk_that_may_not_be_written_to(file, disk):
    runner.run_study(file, disk / "out", StudyOptions(workers=0, filter=("frozen",)))
    before = contents(disk / "out" / "runs")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(OSError, match="Read-only file system"):
        runner.run_study(file, disk / "out", StudyOptions(workers=0))
    assert contents(disk / "out" / "runs") == before
    found = study_status(disk / "out")  # who only reads is not hindered
    assert (found.done, found.left) == (1, 1)
