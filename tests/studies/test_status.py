import json
import os
import signal
import time

from fast_study import carried_out, finish, start, wait_for, workers_of

from peftlens.results import study_results
from peftlens.runs.lock import lock_owners
from peftlens.runs.paused import Pause, keep_paused, pause, paused_runs
from peftlens.studies.status import study_status


def test_where_a_study_stands(fast, tmp_path):
    file, out = fast(runs=3, seconds=2, odd={"0": "raise"}), tmp_path / "out"
    process = start(file, out)
    wait_for(lambda: (out / "failed").exists() and lock_owners(out / "runs"))
    found = study_status(out)
    assert (found.done, len(found.failed), found.left) == (0, 1, 1)
    (running,) = found.running
    assert running.what == "fast number=1 seed=0"
    assert running.pid in workers_of(process)
    finish(process)
    assert study_status(out).done == 2


def test_the_estimate_is_made_of_what_runs_have_taken(fast, tmp_path):
    out = tmp_path / "out"
    carried_out(fast(runs=4), out, filter=("*number=0", "*number=1"))
    assert study_status(out).seconds_left == 0
    for run, seconds in zip(
        json.loads((out / "study.json").read_text())["runs"], (10, 30), strict=False
    ):
        (out / "runs" / run / "digests.json").unlink()
        (out / "runs" / run / "timing.jsonl").write_text(f'{{"seconds": {seconds}}}\n')
    assert study_status(out).seconds_left == 2 * 20  # two are left, and took neither time yet


def test_a_paused_run_is_left_to_train_and_no_remark_worth(fast, tmp_path):
    file, out = fast(runs=2, probe=True), tmp_path / "out"
    carried_out(file, out, filter=("*number=0",))
    first, second = json.loads((out / "study.json").read_text())["runs"]
    (out / "folder").mkdir()
    pause(Pause(run=second, step=0).at(3, {}), out / "folder")
    keep_paused(out / "folder", out / "runs", second, 3)
    found = study_status(out)
    assert (found.done, found.left, found.running, found.damaged) == (1, 1, (), {})
    results = study_results.read(out)
    assert [run.path.name for run in results.runs] == [first]
    assert results.ignored == ()
    carried_out(file, out, filter=("*number=0",))
    assert len(paused_runs(out / "runs")) == 1
    assert carried_out(file, out).left == 0
    assert paused_runs(out / "runs") == []


def test_a_dead_supervisor_runs_nothing(fast, tmp_path):
    process = start(fast(runs=2, seconds=60), tmp_path / "out")
    wait_for(
        lambda: (tmp_path / "out" / "runs").exists() and study_status(tmp_path / "out").running
    )
    (worker,) = workers_of(process)
    process.kill()
    os.kill(worker, signal.SIGKILL)
    finish(process)
    time.sleep(0.1)
    found = study_status(tmp_path / "out")
    assert (found.running, found.left, found.seconds_left) == ((), 2, None)
