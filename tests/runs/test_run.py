import json

import finished
import pytest

from peftlens.errors import InputError
from peftlens.runs.config import RunConfig
from peftlens.runs.run import SCHEMA, Run, environment, run_id, runs_in


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


def test_a_run_is_shown_in_a_notebook_as_it_is(tmp_path):
    run = finished.run(tmp_path, finished.lora(8, 1, init="<b>"), 1)
    shown = run._repr_html_()
    assert "<th>trainable parameters</th><td>460,800</td>" in shown
    assert "init=&lt;b&gt;" in shown
    assert "<b>" not in shown
