from collections import Counter

from fast_study import carried_out, contents

from peftlens.results.table_cache import ProbeSpec
from peftlens.runs.config import RunConfig
from peftlens.studies.job_queue import JobQueue
from peftlens.studies.measurements import Measurements
from peftlens.studies.plan import Forecast, PlannedRun, StudyPlan


def spec(name, measured_with=None, each_run=True):
    return ProbeSpec(
        name=name, each_run=each_run, version=1, config={}, measured_with=measured_with
    )


def measurements(folder, **forecast):
    config = RunConfig(method="lora", task="wiki")
    run = PlannedRun(
        id="a", configuration="lora", batch_key=None, config=config,
        forecast=Forecast(scoring=5.0, **forecast),
    )  # fmt: skip
    probes = [
        spec("cost"), spec("forgetting", "forgetting_items"), spec("task_accuracy", each_run=False),
        spec("soft_prompt_null"), spec("forgetting_items"),
    ]  # fmt: skip
    plan = StudyPlan(
        name="one", runs=[run], probes=probes, probe_options={}, device="cpu", dtype="float32",
        bytes_per_run=1, gpu_bytes=[],
    )  # fmt: skip
    return Measurements(folder, plan, False)


def probes(job):
    return list(job.build_request().probes)


def test_a_run_is_measured_whole_or_in_groups(tmp_path):
    (job,) = measurements(tmp_path).jobs("a", {})
    assert probes(job) == ["cost", "forgetting", "forgetting_items", "soft_prompt_null"]
    assert job.build_request().run == tmp_path / "a"
    parts = list(job.split())
    assert [*map(probes, parts)] == [
        ["cost"], ["forgetting", "forgetting_items"], ["soft_prompt_null"],
    ]  # fmt: skip
    assert len({part.key for part in parts}) == 3
    assert [len(part.work) for part in parts] == [1, 1, 1]
    assert JobQueue([job]).take(2).work == parts[0].work  # which nobody knows yet


def test_what_is_measured_or_can_not_be_measured_is_no_work(tmp_path):
    (job,) = measurements(tmp_path, inapplicable={"soft_prompt_null"}).jobs("a", {})
    assert [work.operations for work in job.work] == [5, 5, 0]
    (tmp_path / "a" / "probes").mkdir(parents=True)
    (tmp_path / "a" / "probes" / "cost.parquet").touch()
    (job,) = measurements(tmp_path).jobs("a", {})
    assert [work.operations for work in job.work] == [0, 5, 5]
    assert probes(job)[0] == "cost"  # the worker reads it, and sees whether it is up to date
    (job,) = measurements(tmp_path).jobs("a", {"cost": {"a"}, "forgetting": {"b"}})
    assert probes(job) == ["forgetting", "forgetting_items", "soft_prompt_null"]
    names = ("cost", "forgetting", "forgetting_items", "soft_prompt_null")
    assert not list(measurements(tmp_path).jobs("a", {name: {"a"} for name in names}))


def test_a_deadly_probe_is_left_out_of_parts_too(tmp_path):
    builder = measurements(tmp_path)
    (job,) = builder.jobs("a", {})
    builder.deadly.add("forgetting")
    builder.unmeasured["forgetting"] = {"b": "killed"}
    assert [*map(probes, job.split())][1] == ["forgetting_items"]
    assert builder.unmeasured["forgetting"]["a"].startswith("not tried")


def test_workers_share_a_run_and_write_the_same_bytes(fast, tmp_path):
    """Each probe measures each run once, whoever does it."""
    file = fast(runs=3, seconds=0.05, probes=6, probe_seconds=0.05)
    found = {}
    for workers in (1, 2):
        out = tmp_path / str(workers)
        outcome = carried_out(file, out, workers=workers)
        assert (outcome.failed, len(outcome.runs)) == ((), 3)
        lines = (out / "measured").read_text().splitlines()
        assert Counter(lines) == {
            f"{run.id} p{number}": 1 for run in outcome.runs for number in range(6)
        }
        found[workers] = contents(out / "runs")
    assert len(found[1]) == 3 * (5 + 6)
    assert found[1] == found[2]
