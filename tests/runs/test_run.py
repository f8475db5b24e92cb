import json
from types import SimpleNamespace

import finished
import pytest

from peftlens.errors import InputError
from peftlens.runs.config import RunConfig
from peftlens.runs.run import SCHEMA, Run, configurations, environment, run_id, runs_in, sweeps


def record(**changes):
    config = RunConfig(method="lora", task="bbc_topic").model_dump(mode="json")
    return {
        "schema_version": SCHEMA, "id": "abc", "configuration": "lora rank=8", "config": config,
        "depends_on": {}, "environment": {}, "status": "finished", "results": {"steps": 4},
        **changes,
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "abc"
    (path / "checkpoints" / "0").mkdir(parents=True)
    (path / "checkpoints" / "2").mkdir()
    (path / "run.json").write_text(json.dumps(record()))
    return path


def test_steps_end_with_the_adapter(folder):
    run = Run(folder)
    assert run.steps == (0, 2, 4)
    assert run.adapter() == run.adapter(4) == folder / "adapter"
    assert run.adapter(2) == folder / "checkpoints" / "2"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "run.json is damaged"),
        (json.dumps(record(status="odd")), "is damaged .status"),
        (json.dumps(record(schema_version=SCHEMA + 1)), "was written by a later version"),
        ('{"schema_version": 1, "config": {"base": "x"}}', "base is called base_model now"),
    ],
)
def test_run_json_that_can_not_be_read(folder, content, message):
    (folder / "run.json").write_text(content)
    with pytest.raises(InputError, match=message):
        _ = Run(folder).record


def test_folder_that_is_no_run(tmp_path):
    with pytest.raises(InputError, match="is not a run: it has no run.json"):
        _ = Run(tmp_path).id


def test_unfinished_folders_are_no_runs(folder):
    (folder.parent / ".tmp-xyz").mkdir()
    (folder.parent / ".tmp-xyz" / "run.json").write_text("{}")
    assert [run.path.name for run in runs_in(folder.parent)] == ["abc"]


def test_run_id_covers_everything_that_decides_the_result():
    config = RunConfig(method="lora", task="bbc_topic")
    base = run_id(config, {"base": "x", "data": "y"})
    assert base == run_id(config.model_copy(), {"data": "y", "base": "x"})
    others = [
        run_id(config.model_copy(update={"seed": 1}), {"base": "x", "data": "y"}),
        run_id(config.model_copy(update={"dtype": "float32"}), {"base": "x", "data": "y"}),
        run_id(
            config.model_copy(update={"method_config": {"rank": 2}}), {"base": "x", "data": "y"}
        ),
        run_id(config, {"base": "z", "data": "y"}),
        run_id(config, {"base": "x", "data": "z"}),
    ]
    assert len({base, *others}) == 6


def test_environment_names_no_person_and_no_folder(monkeypatch):
    monkeypatch.setenv("USER", "somebody-unlikely")
    text = json.dumps(environment())
    assert "somebody-unlikely" not in text
    assert "/" not in text
    assert "transformers" in environment()["packages"]


def planned(name, words, depends_on=None, **changes):
    config = {"method": words.split()[0], "task": "bbc_topic"} | changes
    return SimpleNamespace(id=name, configuration=words, depends_on=depends_on or {"data": "x"},
                           config=RunConfig.model_validate(config))  # fmt: skip


def test_configurations_are_told_apart_by_what_differs():
    runs = [
        planned("a", "lora rank=8", method_config={"rank": 8}, seed=0),
        planned("b", "lora rank=8", method_config={"rank": 8}, seed=1),
        planned("c", "lora rank=4", method_config={"rank": 4}, training={"max_steps": 5}),
        planned(
            "d", "lora rank=4", method_config={"rank": 4}, training={"max_steps": 9}, task="boolq"
        ),
        planned("e", "full"),
        planned("f", "full", depends_on={"data": "y"}),
    ]
    names = configurations(runs)
    assert names["a"] == names["b"] == "lora rank=8"
    assert names["c"] == "lora rank=4 task=bbc_topic max_steps=5"
    assert names["d"] == "lora rank=4 task=boolq max_steps=9"
    assert names["e"].startswith("full data=")
    assert names["e"] != names["f"]


def test_equal_configurations_have_one_name_however_they_were_written():
    one = {"alpha": 4, "rank": 8, "options": {"x": 1, "y": 2}}
    other = {"options": {"y": 2, "x": 1}, "rank": 8, "alpha": 4}
    runs = [
        planned("a", "lora rank=8 alpha=4", method_config=one),
        planned("b", "lora alpha=4 rank=8", method_config=other, seed=1),
    ]
    assert configurations(runs) == {"a": "lora rank=8 alpha=4", "b": "lora rank=8 alpha=4"}


def test_names_are_told_apart_by_data_where_the_configurations_are_equal():
    runs = [
        planned("a", "full", depends_on={"data": "x"}),
        planned("b", "full", depends_on={"data": "y"}),
        planned("c", "full", depends_on={"data": "x"}, training={"max_steps": 9}),
    ]
    names = configurations(runs)
    assert names["c"] == "full max_steps=9"
    assert names["a"].startswith("full max_steps=100 data=")
    assert len({*names.values()}) == 3


def test_a_sweep_is_a_configuration_at_all_its_rates():
    runs = [
        planned("a", "lora rank=8 learning_rate=0.1", training={"learning_rate": 0.1}),
        planned("b", "lora rank=8 learning_rate=1e-05", training={"learning_rate": 1e-5}, seed=1),
        planned("c", "lora rank=8", training={"learning_rate": 0.002}),  # the method's own
        planned("d", "lora rank=8 learning_rate=0.1",
                training={"learning_rate": 0.1, "max_steps": 9}),
    ]  # fmt: skip
    names = sweeps(runs)
    assert names["a"] == names["b"] == names["c"] == "lora rank=8 max_steps=100"
    assert names["d"] == "lora rank=8 max_steps=9"
    assert configurations(runs)["b"] == "lora rank=8 learning_rate=1e-05"


def test_adapters_of_other_programs_are_no_configuration_together():
    runs = [planned(name, f"LORA {name}", depends_on={}, task="unknown") for name in ("a", "b")]
    assert configurations(runs) == {"a": "LORA a", "b": "LORA b"}


def test_a_run_is_shown_in_a_notebook_as_it_is(tmp_path):
    run = finished.run(tmp_path, finished.lora(8, 1, init="<b>"), 1)
    shown = run._repr_html_()
    assert "<th>trainable parameters</th><td>460,800</td>" in shown
    assert "init=&lt;b&gt;" in shown
    assert "<b>" not in shown
