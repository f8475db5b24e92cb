import json

import pytest

from peftlens.results.outcomes import Failed
from peftlens.runs.config import RunConfig
from peftlens.studies.plan import PlannedRun
from peftlens.studies.study_failures import StudyFailures


def failed(summary):
    return Failed(error_summary=summary, error=f"E: {summary}", traceback="t", is_input_error=False)


@pytest.fixture
def failures(tmp_path):
    """Failures of a study of three runs, a to c."""
    runs = [
        PlannedRun(
            id=run, configuration=method, batch_key=None, config=RunConfig(method=method, task="w")
        )
        for run, method in (("a", "lora"), ("b", "dora"), ("c", "vera"))
    ]
    return StudyFailures(tmp_path, {run.id: run for run in runs})


def test_a_failure_is_a_line_and_a_file(failures):
    line = failures.record("a", "Measuring lora seed=0", failed("killed"))
    assert line == "Measuring lora seed=0: failed: killed"
    assert failures.summaries == {"a": line}
    assert json.loads((failures.out / "failed" / "a.json").read_text())["traceback"] == "t"


def test_the_record_of_a_probe_is_that_of_the_first_run_whatever_the_order(failures):
    for run in ("b", "a"):
        failures.record_probe(run, "cost", failed(run))
    line = "probe cost on lora seed=0 and 1 other run: failed: a"
    assert failures.summaries == {"cost": line}
    failures.record_probe("b", "cost", failed("again"))
    assert failures.summaries == {"cost": line}
    failures.record_probe("c", "cost", failed("c"))
    assert failures.summaries == {"cost": line.replace("1 other run", "2 other runs")}
    assert failures.unmeasured == {"cost": {"a": "a", "b": "again", "c": "c"}}


def test_records_of_an_earlier_call_stay_unless_they_are_tried_again(failures):
    for run in ("a", "b"):
        failures.record(run, f"run {run}", failed("out of luck"))
    failures.record_probe("c", "cost", failed("no"))
    failures.record("gone", "run of an earlier file", failed("no"))
    later = StudyFailures(failures.out, failures.runs)
    later.load(retried={"b"})
    assert later.summaries == {"a": "run a: failed: out of luck (before; not tried again)"}
    assert [file.name for file in (failures.out / "failed").iterdir()] == ["a.json"]
