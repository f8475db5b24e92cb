import json
import os
import signal
from types import SimpleNamespace

import pytest

from peftlens.studies.job_queue import Job, JobQueue
from peftlens.studies.local_pool import InProcessPool, LocalPool, _Process
from peftlens.studies.scheduler import Signals, run_jobs
from peftlens.studies.worker_protocol import PlanRequest


def run(jobs, engine):
    return list(run_jobs(JobQueue(jobs), engine, Signals()))


def plan(number=0, **requested):
    request = PlanRequest(
        text=json.dumps(requested),
        source="",
        dtypes=None,
        full_scale=False,
        trust_remote_code=False,
    )
    return Job.from_request(request, str(number), "")


def test_this_process_as_a_worker(fast):  # noqa: ARG001
    (ended,) = run([plan(runs=2)], InProcessPool("fast"))
    assert len(ended.outcome.result.runs) == 2


def test_workers_are_started_once_and_see_their_variables(fast, tmp_path):  # noqa: ARG001
    engine = LocalPool([{"FAST": "1"}, {"FAST": "2"}], module="fast")
    requested = [plan(number, see="FAST") for number in range(6)]
    seen = [tuple(ended.outcome.result) for ended in run(requested, engine)]
    assert {value for _, value in seen} <= {"1", "2"}
    assert len(set(seen)) <= 2
    engine.reshape([{"FAST": "1"}])
    again = [tuple(ended.outcome.result) for ended in run(requested[:1], engine)]
    assert again[0] in seen or "1" not in {value for _, value in seen}
    engine.close(now=False)
    with pytest.raises(ProcessLookupError):
        os.kill(again[0][0], 0)


@pytest.mark.parametrize(
    ("code", "summary", "is_retryable"),
    [(-9, "killed by SIGKILL", True), (137, "killed by SIGKILL", True),
     (255, "by itself, with code 255", False), (7, "by itself, with code 7", False)],
)  # fmt: skip
def test_how_a_worker_died(code, summary, is_retryable, tmp_path):
    with (tmp_path / "log").open("w+b") as log:
        process = SimpleNamespace(returncode=code)
        log.write(b"of another job, of this one")
        worker = _Process(process, log, log_start=16, activity="latency")
        died = LocalPool([{}])._death(worker)
    assert summary in died.error_summary
    assert (died.log, died.activity) == ("of this one", "latency")
    assert died.is_retryable is is_retryable


def test_workers_start_where_no_signal_can_be_blocked(fast, monkeypatch):  # noqa: ARG001
    monkeypatch.delattr(signal, "pthread_sigmask")
    engine = LocalPool([{"FAST": "1"}], module="fast")
    (ended,) = run([plan(runs=2)], engine)
    engine.close(now=False)
    assert len(ended.outcome.result["runs"]) == 2


def test_a_death_by_a_signal_where_there_is_no_sigkill(tmp_path, monkeypatch):
    monkeypatch.delattr(signal, "SIGKILL")
    with (tmp_path / "log").open("w+b") as log:
        died = LocalPool([{}])._death(_Process(SimpleNamespace(returncode=130), log))
    assert died.error_summary == "the worker was killed by SIGINT"
