import json

from peftlens.results import failures
from peftlens.results.outcomes import Corrupted, Died, Failed


def test_what_is_recorded_is_read_and_forgotten(tmp_path):
    assert failures.recorded(tmp_path) == {}
    raised = Failed(
        error_summary="out of luck", error="E: out", traceback="line 3", is_input_error=True
    )
    line = failures.record(tmp_path, "abc", "lora seed=0", raised)
    assert line == "lora seed=0: failed: out of luck"
    died = Died(error_summary="killed", log="l", activity="x", is_retryable=False)
    failures.record(tmp_path, "latency", "probe latency", died)
    assert failures.recorded(tmp_path) == {"abc": line, "latency": "probe latency: failed: killed"}
    about = json.loads((tmp_path / "failed" / "abc.json").read_text())
    assert about == {
        "what": "lora seed=0", "summary": "out of luck", "error": "E: out", "traceback": "line 3",
    }  # fmt: skip
    failures.forget(tmp_path, keep=["latency"])
    assert list(failures.recorded(tmp_path)) == ["latency"]


def test_the_file_of_each_kind(tmp_path):
    """The words of an outcome's fields are not those of the file, which reports read."""
    died = Died(error_summary="killed", log="l", activity="latency", is_retryable=True)
    failures.record(tmp_path, "died", "a run", died)
    failures.record(tmp_path, "corrupted", "a run", Corrupted(error_summary="run.json differs"))
    assert failures.details(tmp_path) == {
        "died": {"what": "a run", "summary": "killed", "log": "l"},
        "corrupted": {"what": "a run", "summary": "run.json differs"},
    }
