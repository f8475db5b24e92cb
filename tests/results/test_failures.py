import json

from peftlens.results import failures


def test_what_is_recorded_is_read_and_forgotten(tmp_path):
    assert failures.recorded(tmp_path) == {}
    raised = {"failed": "out of luck", "error": "E: out", "traceback": "line 3", "mendable": True}
    line = failures.record(tmp_path, "abc", "lora seed=0", raised)
    assert line == "lora seed=0: failed: out of luck"
    failures.record(tmp_path, "latency", "probe latency", {"died": "killed", "log": "l", "at": "x"})
    assert failures.recorded(tmp_path) == {"abc": line, "latency": "probe latency: failed: killed"}
    about = json.loads((tmp_path / "failed" / "abc.json").read_text())
    assert about == {
        "what": "lora seed=0", "told": "out of luck", "error": "E: out", "traceback": "line 3",
    }  # fmt: skip
    failures.forget(tmp_path, keep=["latency"])
    assert list(failures.recorded(tmp_path)) == ["latency"]
