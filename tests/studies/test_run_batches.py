"""Runs as jobs, each alone or several in one pass."""

from collections import deque

import pytest

from peftlens.studies.run_batches import TOGETHER, RunBatches
from peftlens.studies.scheduler import JobResult


def planned(run, together=None, after=None):
    config = {"method": "lora", "rank": int(run)}
    about = {"configuration": f"lora rank={run}", "seed": 0, "config": config}
    return about | {"id": run, "together": together, "after": after}


def trainings(folder, **options):
    return RunBatches(folder, trust=False, devices=options.pop("devices", 0), **options)


def test_each_alone(tmp_path, capsys):
    runs = [planned("1", "a"), planned("2", "a"), planned("3", after="2")]
    jobs = list(trainings(tmp_path).jobs(runs))
    assert [job.key for job in jobs] == [("train", "1"), ("train", "2"), ("train", "3")]
    assert [job.needs for job in jobs] == [None, None, ("train", "2")]
    assert jobs[0].task() == {
        "do": "train",
        "with": {"config": runs[0]["config"], "run": "1", "runs": str(tmp_path), "trust": False},
    }
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("devices", "most", "sizes"),
    [(1, None, [TOGETHER, 1]), (2, None, [5, 4]), (0, 4, [4, 4, 1]), (1, 1, [1] * 9)],
)
def test_how_many_in_one_pass(tmp_path, devices, most, sizes):
    jobs = trainings(tmp_path, devices=devices, most=most).jobs(
        [planned(str(n), "a") for n in range(9)]
    )
    given = [job.task()["with"] for job in jobs]
    assert [len(one.get("configs", "1")) for one in given] == sizes


def test_what_became_of_a_pass(tmp_path, capsys):
    """One run of three is in no result: it is trained alone, and the others are not."""
    under_way = trainings(tmp_path, most=3)
    (job,) = under_way.jobs([planned(run, "a") for run in "123"])
    assert (job.key, job.what) == (("train_together", "1"), "lora rank=1 seed=0 and 2 more")
    left = deque()
    ended = list(under_way.each(JobResult(job, {"done": {"1": "good", "3": "better"}}), left))
    assert [one.job.key for one in ended] == [("train", "1"), ("train", "3")]
    assert [one.outcome for one in ended] == [{"done": "good"}, {"done": "better"}]
    assert [one.key for one in left] == [("train", "2")]
    assert "now each alone" not in capsys.readouterr().err


def test_a_pass_that_failed(tmp_path, capsys):
    under_way = trainings(tmp_path, most=2)
    (job,) = under_way.jobs([planned(run, "a") for run in "12"])
    left = deque()
    assert list(under_way.each(JobResult(job, {"died": "killed by SIGKILL"}), left)) == []
    assert [one.key for one in left] == [("train", "1"), ("train", "2")]
    assert "lora rank=1 seed=0 and 1 more" in capsys.readouterr().err
