import pytest

from peftlens.models.base_model_cache import BaseModelCache
from peftlens.results import table
from peftlens.runs.run import Run
from peftlens.studies import grid, worker, worker_protocol


@pytest.fixture
def base_models():
    return BaseModelCache()


@pytest.fixture
def inventory(tiny_study, base_models):
    settings = 'dtype = "float32"\nprobes = ["parameter_count", "task_items"]'
    text = tiny_study('method = "lora"', settings=settings)
    return grid.inventory(text, "worker.toml", base_models=base_models)


@pytest.fixture
def trained(inventory, base_models, tmp_path):
    (run,) = inventory["runs"]
    out = str(tmp_path / "runs")
    told = worker.train(run["config"], run["id"], out, False, base_models=base_models)
    assert "on validation" in told
    return tmp_path / "runs" / run["id"]


def test_it_trains_the_run_that_was_planned(trained):
    assert Run(trained).record.status == "finished"
    assert set(Run(trained).digests) >= {"run.json", "metrics.jsonl", "timing.jsonl"}


def test_another_run_than_planned_is_refused(inventory, base_models, tmp_path):
    with pytest.raises(ValueError, match="are not those that the study was planned with"):
        worker.train(
            inventory["runs"][0]["config"],
            "0" * 12,
            str(tmp_path),
            False,
            base_models=base_models,
        )
    assert not list(tmp_path.iterdir())


def test_a_probe_that_fails_costs_itself(trained, base_models, monkeypatch):
    from peftlens.probes import parameter_count

    monkeypatch.setattr(parameter_count, "measure", lambda *_: 1 / 0)
    wrong = worker.measure(
        str(trained), ["parameter_count", "task_items"], {}, False, base_models=base_models
    )
    assert list(wrong) == ["parameter_count"]
    assert wrong["parameter_count"]["failed"] == "division by zero"
    assert (trained / "probes" / "task_items.parquet").exists()


def test_a_damaged_run_is_measured_no_further(trained, base_models):
    weights = trained / "adapter" / "adapter_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    wrong = worker.measure(
        str(trained), ["task_items", "parameter_count"], {}, False, base_models=base_models
    )
    assert list(wrong) == ["task_items"]
    assert "not those that were written" in wrong["task_items"]["damaged"]


def test_tables(trained, inventory, tmp_path):
    labels = {run["id"]: run["configuration"] for run in inventory["runs"]}
    file = tmp_path / "tables" / "parameter_count.parquet"
    task = {"name": file.stem, "runs": [str(trained)], "labels": labels, "options": {}}
    given = task | {"file": str(file), "trust": False}
    assert worker_protocol.perform({"do": "table", "with": given}, worker.actions()) == {
        "done": None
    }
    assert table.read(file).frame["configuration"].tolist() == ["lora rank=8"]


def test_a_process_that_only_measures_may_need_the_base_s_code(
    tiny_study, base_models, with_code, bases, tmp_path
):
    text = tiny_study('method = "lora"').replace(str(bases["llama"]), str(with_code))
    (run,) = grid.inventory(text, "worker.toml", trust=True, base_models=base_models)["runs"]
    worker.train(run["config"], run["id"], str(tmp_path), True, base_models=base_models)
    folder = str(tmp_path / run["id"])
    wrong = worker.measure(folder, ["task_items"], {}, False, base_models=base_models)
    assert "allow it by --trust-remote-code" in wrong["task_items"]["failed"]
    assert worker.measure(folder, ["task_items"], {}, True, base_models=base_models) == {}
