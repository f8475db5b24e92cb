import json

import pytest
from simulated_pool import SimulatedPool, job

from peftlens.studies.durations import Work
from peftlens.studies.makespan import Makespan
from peftlens.studies.scheduler import Signals, run_jobs


def call(study, jobs, pool):
    """Carry the jobs out as a call does; return what was recorded of it."""
    makespan = Makespan(clock=lambda: pool.now)
    makespan.begin(study)
    queue = pool.queue(jobs)
    for _ in run_jobs(queue, pool, Signals()):
        makespan.foresee(queue, pool.slots)
    makespan.worked += queue.worked
    makespan.end()
    (file,) = (study / "calls").iterdir()
    return json.loads(file.read_text())


def runs(number, seconds, expected=None, kind="lora"):
    return [
        job(f"{kind} {n}", seconds, (Work((kind, "training"), expected or seconds),))
        for n in range(number)
    ]


def test_expected_and_reached_time(tmp_path, capsys):
    """Eleven runs of 100 s on two workers: six rounds, in the last of which one has no work."""
    found = call(tmp_path, runs(11, 100), SimulatedPool(2))
    assert found["seconds"] == 600
    # two of eleven runs have ended after 100 s; 900 s of work are shared by two
    assert found["expected_seconds"] == 100 + 450
    assert found["workers"] == 2
    assert found["worked_share"] == pytest.approx(11 / 12, abs=5e-4)
    assert capsys.readouterr().err.splitlines() == [
        "About 8 minutes left with 2 workers",
        "Took 10 minutes; 2 workers worked 92% of the time",
    ]


def test_nothing_is_foretold_while_a_kind_of_work_is_unknown(tmp_path, capsys):
    """The run with a probe comes first, as it takes longest; the rest is known after the probe."""
    jobs = runs(4, 100)
    jobs += [job("probe", 50, (Work(("forgetting",), 1.0),), needs="lora 3")]
    found = call(tmp_path, jobs, SimulatedPool(1))
    assert (found["seconds"], found["expected_seconds"]) == (450, 450)
    told, _ = capsys.readouterr().err.splitlines()
    assert told == "About 5 minutes left with 1 worker"  # and not 6 after the first run


def test_nothing_is_foretold_before_a_tenth_of_the_work_is_done(tmp_path, capsys):
    found = call(tmp_path, runs(30, 10), SimulatedPool(1))
    assert (found["seconds"], found["expected_seconds"]) == (300, 300)
    told, _ = capsys.readouterr().err.splitlines()
    assert told == "About 4 minutes left with 1 worker"  # 270 s, and not 290 s after the first run


def test_short_calls_tell_nothing(tmp_path, capsys):
    found = call(tmp_path, runs(4, 5), SimulatedPool(2))
    assert (found["seconds"], found["worked_share"]) == (10, 1)
    assert capsys.readouterr().err == ""


def test_without_jobs_nothing_is_recorded(tmp_path):
    Makespan().end()
    assert not list(tmp_path.iterdir())


def test_a_record_that_was_deleted_is_not_made_again(tmp_path):
    pool = SimulatedPool(1)
    makespan = Makespan(clock=lambda: pool.now)
    makespan.begin(tmp_path)
    (file,) = (tmp_path / "calls").iterdir()
    file.unlink()
    makespan.workers, pool.now = 1, 5
    makespan.end()
    assert not file.exists()
