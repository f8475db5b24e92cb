"""Runs as jobs, each alone or several in one pass."""

import pytest

from peftlens.results.outcomes import Died, Done
from peftlens.runs.config import RunConfig
from peftlens.studies.job_queue import JobKey, JobQueue
from peftlens.studies.plan import PlannedRun
from peftlens.studies.run_batches import RUNS_PER_PASS, RunBatches
from peftlens.studies.scheduler import JobResult
from peftlens.studies.worker_protocol import TrainBatchRequest, TrainRequest


def planned(run, batch_key=None, continue_from=None):
    config = RunConfig(
        method="lora", task="wiki", method_config={"rank": int(run)}, continue_from=continue_from
    )
    return PlannedRun(id=run, configuration=f"lora rank={run}", batch_key=batch_key, config=config)


def batches(folder, devices=0, runs_per_pass=None):
    return RunBatches(folder, False, devices, runs_per_pass)


def test_each_alone(tmp_path, capsys):
    runs = [planned("1", "a"), planned("2", "a"), planned("3", continue_from="2")]
    jobs = list(batches(tmp_path).jobs(runs))
    assert [job.key for job in jobs] == [
        JobKey("train", "1"),
        JobKey("train", "2"),
        JobKey("train", "3"),
    ]
    assert [job.needs for job in jobs] == [None, None, JobKey("train", "2")]
    assert jobs[0].build_request() == TrainRequest(
        run="1", config=runs[0].config, folder=tmp_path, trust_remote_code=False
    )
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("devices", "runs_per_pass", "sizes"),
    [(1, None, [RUNS_PER_PASS, 1]), (2, None, [5, 4]), (0, 4, [4, 4, 1]), (1, 1, [1] * 9)],
)
def test_how_many_in_one_pass(tmp_path, devices, runs_per_pass, sizes):
    jobs = batches(tmp_path, devices, runs_per_pass).jobs([planned(str(n), "a") for n in range(9)])
    requests = [job.build_request() for job in jobs]
    assert [
        len(one.configs) if isinstance(one, TrainBatchRequest) else 1 for one in requests
    ] == sizes


def test_what_became_of_a_pass(tmp_path, capsys):
    """One run of three is in no result: it is trained alone, and the others are not."""
    under_way = batches(tmp_path, runs_per_pass=3)
    (job,) = under_way.jobs([planned(run, "a") for run in "123"])
    assert (job.key, job.description) == (
        JobKey("train_batch", "1"),
        "lora rank=1 seed=0 and 2 more",
    )
    left = JobQueue()
    done = Done(result={"1": "good", "3": "better"})
    ended = list(under_way.results_by_run(JobResult(job, done), left))
    assert [one.job.key for one in ended] == [JobKey("train", "1"), JobKey("train", "3")]
    assert [one.outcome for one in ended] == [Done(result="good"), Done(result="better")]
    assert [one.key for one in left] == [JobKey("train", "2")]
    assert "now each alone" not in capsys.readouterr().err


def test_a_pass_that_failed(tmp_path, capsys):
    under_way = batches(tmp_path, runs_per_pass=2)
    (job,) = under_way.jobs([planned(run, "a") for run in "12"])
    left = JobQueue()
    died = Died(error_summary="killed by SIGKILL", log="", is_retryable=True)
    assert list(under_way.results_by_run(JobResult(job, died), left)) == []
    assert [one.key for one in left] == [JobKey("train", "1"), JobKey("train", "2")]
    assert "lora rank=1 seed=0 and 1 more: killed by SIGKILL; now" in capsys.readouterr().err


def test_runs_are_paused_after_a_share_of_their_steps(tmp_path):
    """Runs that pause at different steps are not trained in one pass."""
    long = planned("3", "a")
    training = long.config.training.model_copy(update={"max_steps": 1000})
    config = long.config.model_copy(update={"training": training})
    whole = planned("4").model_copy(update={"pausable": False})
    runs = [planned("1", "a"), planned("2", "a"), long.model_copy(update={"config": config}), whole]
    jobs = RunBatches(tmp_path, False, 0, 4, pause_after=0.25).jobs(runs)
    requests = [job.build_request() for job in jobs]
    assert [request.until for request in requests] == [25, 250, None]
    assert [*requests[0].configs] == ["1", "2"]
