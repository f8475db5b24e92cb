"""What a study withstands, with real processes and a worker that trains nothing."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fast_study import (
    attempts,
    carried_out,
    contents,
    finish,
    start,
    wait_for,
    workers_of,
)

from peftlens.results import study_index
from peftlens.runs import store
from peftlens.runs.lock import lock_run
from peftlens.runs.run import Run, runs_in
from peftlens.studies import local_pool, runner, status
from peftlens.studies.runner import StudyOptions

pytestmark = pytest.mark.long


@pytest.mark.parametrize("victim", ["worker", "supervisor", "group"])
def test_a_hundred_runs_killed_at_random_moments(fast, tmp_path, victim):
    file, draw = fast(runs=100, seconds=0.02), random.Random(victim)
    carried_out(file, tmp_path / "undisturbed")
    out, kills = tmp_path / "out", 0
    while kills < 17:
        process = start(file, out)
        while kills < 17 and process.poll() is None:
            time.sleep(draw.uniform(0, 0.5))
            targets = workers_of(process) if victim == "worker" else [process.pid]
            if not targets or process.poll() is not None:
                continue
            send = os.killpg if victim == "group" else os.kill
            send(draw.choice(targets), signal.SIGKILL)
            kills += 1
        finish(process)
        # what is there is whole, at every moment
        assert all(store.damage(run) is None for run in runs_in(out / "runs"))
        if len(runs_in(out / "runs")) == 100:
            break
    outcome = carried_out(file, out, retry_failed=True)
    assert (outcome.failed, outcome.left, len(outcome.runs)) == ((), 0, 100)
    assert contents(out / "runs") == contents(tmp_path / "undisturbed" / "runs")
    assert not list((out / "runs").glob(".*"))
    assert kills == 17
    assert sum(attempts(out).values()) - 100 <= kills
    assert len(attempts(out)) == 100


@pytest.mark.parametrize("what", ["raise", "kill", "exit"])
def test_a_pass_that_fails_costs_time_alone(fast, tmp_path, capsys, what):
    """Each of its runs is trained alone then, and only the odd one fails."""
    file = fast(runs=6, seconds=0.01, together="all", odd={"together": what, "4": "raise"})
    outcome = carried_out(file, tmp_path, runs_per_pass=3)
    assert len(outcome.runs) == 5
    assert [line.split(": ")[0] for line in outcome.failed] == ["fast number=4 seed=0"]
    assert capsys.readouterr().err.count("now each alone") == 2


def test_a_supervisor_killed_between_two_runs_leaves_no_worker(fast, tmp_path):
    process = start(fast(runs=100, seconds=0.2), tmp_path / "out")
    wait_for(lambda: len(runs_in(tmp_path / "out" / "runs")) >= 2)
    (worker,) = workers_of(process)
    process.kill()
    process.communicate()
    wait_for(lambda: not Path(f"/proc/{worker}").exists(), 5)


def test_two_supervisors_and_eight_readers(fast, tmp_path):
    file, out = fast(runs=60, seconds=0.05, probe=True), tmp_path / "out"
    both = [start(file, out) for _ in range(2)]
    wait_for(lambda: (out / "study.json").exists())
    code = (
        "import sys\nfrom pathlib import Path\nfrom peftlens.studies.status import study_status\n"
        "from peftlens.runs.run import runs_in\n"
        "out, seen = Path(sys.argv[1]), 0\nwhile seen < 60:\n"
        "    seen = study_status(out).done\n"
        "    assert all(run.record.status == 'finished' for run in runs_in(out / 'runs'))"
    )
    readers = [
        subprocess.Popen([sys.executable, "-c", code, str(out)], stderr=subprocess.PIPE)
        for _ in range(8)
    ]
    for process in both:
        assert finish(process)[0] == 0
    for reader in readers:
        _, err = reader.communicate(timeout=60)
        assert reader.returncode == 0, err
    assert attempts(out) == dict.fromkeys(range(60), 1)
    assert (out / "tables" / "number.parquet").exists()  # by whoever came last


@pytest.mark.parametrize(
    ("odd", "message", "times"),
    [
        ("raise", "failed: out of luck", 1),
        ("kill", "killed by SIGKILL, as the system does when memory runs out", 2),
        ("abort", "killed by SIGABRT", 2),
        ("exit", "ended by itself, with code 7", 1),
        ("hang", "no sign of progress for", 1),
    ],
)
def test_what_becomes_of_a_run_costs_that_run(fast, tmp_path, odd, message, times):
    file = fast(runs=4, odd={"1": odd})
    outcome = carried_out(file, tmp_path / "out", stall_timeout=2)
    (line,) = outcome.failed
    assert line.startswith("fast number=1 seed=0: failed: ")
    assert message in line
    assert [run.id for run in outcome.runs] == [
        run for run in study_index.read_index(tmp_path / "out")["runs"] if run in
        {run.id for run in outcome.runs}
    ]  # fmt: skip
    assert len(outcome.runs) == 3
    assert attempts(tmp_path / "out") == {0: 1, 1: times, 2: 1, 3: 1}
    (record,) = (tmp_path / "out" / "failed").iterdir()
    about = json.loads(record.read_text())
    where = about.get("traceback", "") + about.get("log", "")
    assert odd == "kill" or odd == "exit" or "fast.py" in where  # the others leave no trace
    assert not list((tmp_path / "out" / "runs").glob(".tmp-*")) or odd != "raise"
    # it is not tried again by itself; asked to, it is
    assert carried_out(file, tmp_path / "out").failed != ()
    assert attempts(tmp_path / "out")[1] == times
    mended = fast(runs=4)
    assert carried_out(mended, tmp_path / "out", retry_failed=True).failed == ()


def test_a_worker_that_can_not_even_end_itself_is_killed(fast, tmp_path, monkeypatch):
    monkeypatch.setattr(local_pool, "_KILL_DELAY", 1.0)
    outcome = carried_out(fast(runs=3, odd={"1": "stop"}), tmp_path / "out", stall_timeout=5)
    assert len(outcome.runs) == 2
    assert "no sign of progress for" in outcome.failed[0]


def test_memory_that_runs_out_costs_one_run(fast, tmp_path):
    outcome = carried_out(fast(runs=3, odd={"0": "memory"}), tmp_path / "out")
    assert len(outcome.runs) == 2
    assert outcome.failed == ("fast number=0 seed=0: failed: MemoryError",)
    assert attempts(tmp_path / "out")[0] == 1


@pytest.mark.parametrize(
    ("signals", "code", "finished"),
    [
        ([signal.SIGINT], 130, 1),
        ([signal.SIGINT, signal.SIGINT], 130, 0),
        ([signal.SIGTERM], 143, 0),
    ],
)
def test_signals(fast, tmp_path, signals, code, finished):
    file, out = fast(runs=3, seconds=3), tmp_path / "out"
    process = start(file, out)
    wait_for(lambda: (out / "attempts").exists())
    for number in signals:
        os.killpg(process.pid, number)  # as a terminal does: the workers get it too
        time.sleep(0.3)
    assert finish(process)[0] == code
    assert len(runs_in(out / "runs")) == finished
    assert not list((out / "runs").glob(".*"))  # a worker that is told to go cleans up
    assert carried_out(fast(runs=3), out).left == 0


def test_ctrl_c_while_workers_start_loses_nothing_of_what_they_were_given(
    fast, tmp_path, monkeypatch
):
    monkeypatch.setenv("FAST_START", "1")
    out = tmp_path / "out"
    process = start(fast(runs=4, seconds=1), out, workers=2)
    wait_for(lambda: len(workers_of(process)) == 2)  # they have only begun
    os.killpg(process.pid, signal.SIGINT)
    assert finish(process)[0] == 130
    given = attempts(out) if (out / "attempts").exists() else {}
    assert len(given) <= 2
    assert set(given.values()) <= {1}
    assert len(runs_in(out / "runs")) == len(given)


def test_shards_share_a_study_out(fast, tmp_path):
    file, out = fast(runs=10, probe=True), tmp_path / "out"
    lefts = [carried_out(file, out, shard=(part, 3)).left for part in (1, 2, 3)]
    assert lefts == [6, 3, 0]
    assert attempts(out) == dict.fromkeys(range(10), 1)
    assert (out / "tables" / "number.parquet").exists()


def test_a_shard_tears_no_sequence_apart(fast, tmp_path):
    file, out = fast(runs=5, sequence=True), tmp_path / "out"
    assert carried_out(file, out, shard=(2, 2)).left == 5
    assert carried_out(file, out, shard=(1, 2), workers=1).left == 0


def test_a_sequence_that_another_process_is_at_is_left_to_it(fast, tmp_path):
    """All of it: the third task's run needs the second, which is not begun here."""
    file, out = fast(runs=3, sequence=True), tmp_path / "out"
    carried_out(file, out, shard=(2, 2))
    first = json.loads((out / "study.json").read_text())["runs"][0]
    with lock_run(out / "runs", first):
        outcome = carried_out(file, out)
    assert outcome.failed == ()
    assert outcome.left == 3
    assert carried_out(file, out).left == 0


def test_only_some_runs(fast, tmp_path):
    outcome = carried_out(fast(runs=12), tmp_path / "out", filter=("*number=1", "*number=3 *"))
    assert (len(outcome.runs), outcome.left) == (2, 10)
    assert attempts(tmp_path / "out") == {1: 1, 3: 1}


def test_damaged_runs_are_put_aside_and_trained_anew(fast, tmp_path):
    file, out = fast(runs=6), tmp_path / "out"
    before = carried_out(file, out)
    good = contents(out / "runs")
    flipped, cut, gone, odd = (run.path for run in before.runs[:4])
    (flipped / "metrics.jsonl").write_text('{"step": 7}\n')
    (cut / "run.json").write_text((cut / "run.json").read_text()[:50])
    (gone / "adapter" / "adapter_model.safetensors").unlink()
    (odd / "digests.json").write_text("{")
    assert len(status.study_status(out).damaged) == 4
    assert carried_out(file, out).failed == ()
    assert contents(out / "runs") == good
    assert {file.name for file in (out / "quarantine").iterdir()} == {
        f"{folder.name}-0" for folder in (flipped, cut, gone, odd)
    }


def test_a_study_of_a_later_version_is_not_written_over(fast, tmp_path):
    file, out = fast(runs=1), tmp_path / "out"
    carried_out(file, out)
    text = (out / "study.json").read_text().replace('"schema_version": 2', '"schema_version": 3')
    (out / "study.json").write_text(text)
    with pytest.raises(ValueError, match="was written by a later version"):
        carried_out(file, out)
    assert (out / "study.json").read_text() == text


def test_a_wrong_worker_is_told_at_once(fast, tmp_path):
    with pytest.raises(RuntimeError, match="ended by itself, with code 1"):
        runner.run_study(fast(), tmp_path / "out", StudyOptions(module="nowhere", workers=1))
    assert not (tmp_path / "out").exists()


def test_what_failed_where_another_run_was_needed(fast, tmp_path):
    outcome = carried_out(fast(runs=3, sequence=True, odd={"1": "raise"}), tmp_path / "out")
    assert len(outcome.runs) == 1
    assert len(outcome.failed) == 2
    assert Run(outcome.runs[0].path).record.status == "finished"
