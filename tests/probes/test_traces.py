import pandas as pd

from peftlens.adapters.run_context import RunContext
from peftlens.diffing.trace_verdict import trace_verdict
from peftlens.evaluation import probe_runner
from peftlens.probes.traces import combine

OPTIONS = {
    "activation_difference": {"items": 6, "random_updates": 1},
    "patchscope": {"items": 6, "random_updates": 0},
}


def rows(run, p):
    return {
        "run": run, "configuration": f"{run}!", "method": "lora", "seed": 1, "status": "measured",
        "text": "general", "layer": 2, "p": p, "standardized": 3.0, "words": ["ship", "the"],
        "typical": ["ship"], "random_updates": 5, "random_found": 0.0, "random_larger": 0.0,
        "power_at_0.4": 0.5,
    }  # fmt: skip


def test_each_run_has_its_verdict():
    change = pd.DataFrame([rows("a", 0.0001), rows("b", 0.5)])
    said = pd.DataFrame([{**rows("b", 0.0001), "source": "general"}]).drop(columns="text")
    found = combine({"activation_difference": change, "patchscope": said}).set_index("run")
    assert found["verdict"].to_dict() == {"a": "readable trace", "b": "readable trace"}
    assert found["q"].to_dict() == {"a": 0.0001, "b": 0.0002}  # b was looked at twice
    assert found["source"].to_dict() == {"a": "activation_difference", "b": "patchscope"}
    assert list(found.loc["a", ["layers", "words", "typical"]]) == [[2], ["ship", "the"], ["ship"]]
    assert found.loc["a", ["configuration", "larger", "power"]].tolist() == ["a!", 1, 0.5]
    alone = combine({"activation_difference": change})
    assert alone["verdict"].tolist() == ["readable trace", "trace, not of the task"]


def test_nothing_measured_is_no_row():
    reason = pd.DataFrame([rows("a", None) | {"status": "not_applicable"}])
    assert combine({"activation_difference": reason}).empty


def test_a_probe_measured_before_is_read_and_none_is_measured_for_it(trained):
    run = trained("lora", seed=7, rank=2)
    context = RunContext()
    one = probe_runner.collect(context, [run], "traces", options=OPTIONS)
    assert one.frame["verdict"].tolist() == ["not tested"]  # no token of the tiny base is a word
    assert not (run.path / "probes" / "patchscope.parquet").exists()
    probe_runner.run_probe(context, run, "patchscope", OPTIONS)
    tables = probe_runner.saved_tables([run], ("patchscope", "divergence"), {run.id: "x"})
    assert tables.keys() == {"patchscope"}
    frames = [probe_runner.run_probe(context, run, name, OPTIONS).frame for name in OPTIONS]
    both = trace_verdict(dict(zip(OPTIONS, frames, strict=True)))
    again = probe_runner.collect(context, [run], "traces", options=OPTIONS)
    assert again.frame["sentence"].tolist() == [both.sentence]
