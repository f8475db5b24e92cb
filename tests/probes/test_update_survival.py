"""A healthy update survives its quantization, a thousandth of it doesn't."""

import pytest
from safetensors.torch import load_file, save_file
from small_runs import small_trainer

import peftlens
from peftlens.errors import InputError
from peftlens.evaluation import probe_runner
from peftlens.probes import task_items, update_survival
from peftlens.probes.update_survival import Config, measure

FEW = {"texts": 4, "items": 12}


@pytest.fixture
def run(bases, words, tmp_path):
    return small_trainer(bases, words, tmp_path / "runs", max_steps=8, learning_rate=0.003)


def scaled(run, folder, scale):
    """The run's adapter with B times a number, as plain peft would have it."""
    folder.mkdir()
    tensors = load_file(run.adapter() / "adapter_model.safetensors")
    tensors = {name: t * (scale if "lora_B" in name else 1) for name, t in tensors.items()}
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    text = (run.adapter() / "adapter_config.json").read_text()
    (folder / "adapter_config.json").write_text(text)
    return peftlens.load_adapter(folder)


def test_a_healthy_update_is_kept_and_a_thousandth_of_it_erased(context, run, tmp_path):
    trained = run("lora")
    healthy = measure(context, trained, Config(**FEW)).set_index(["text", "precision"])
    assert set(healthy["verdict"]) == {"kept"}
    exact, nf4 = healthy.loc[("task", "float32")], healthy.loc[("task", "nf4")]
    assert exact["kl"] == pytest.approx(0, abs=1e-6)
    assert exact["agreement"] == pytest.approx(1, abs=1e-4)
    assert exact["flips"] == 0
    assert exact["kl_without_update"] > 10 * nf4["kl"] > 0
    light = measure(context, scaled(trained, tmp_path / "light", 1e-3), Config(**FEW))
    light = light.set_index("precision")
    assert set(light["text"]) == {"general"}  # an adapter alone names no task
    assert light.loc["nf4", "verdict"] == "erased"
    assert light.loc["float32", "verdict"] == "kept"
    assert light.loc["nf4", "agreement"] < 0.3 < light.loc["float32", "agreement"]


def test_accuracy_is_that_of_the_merged_model(context, run):
    trained = run("lora")
    items = task_items.measure(context, trained)[:12]
    rows = measure(context, trained, Config(precisions=("float32",), **FEW)).set_index("text")
    right = (items["chosen"] == items["correct"]).mean()
    assert rows.loc["task", "accuracy"] == rows.loc["task", "attached_accuracy"] == right


def test_an_update_of_zero_has_no_verdict(context, run, tmp_path):
    nothing = scaled(run("lora"), tmp_path / "zero", 0)
    (row,) = measure(context, nothing, Config(precisions=("nf4",), **FEW)).to_dict("records")
    assert row["verdict"] is None or row["verdict"] != row["verdict"]
    assert row["kl"] == pytest.approx(row["kl_without_update"])


def test_options_are_checked(context, run):
    with pytest.raises(InputError, match="texts=0"):
        measure(context, run("lora"), Config(texts=0))
    with pytest.raises(InputError, match="precisions"):
        probe_runner.configure("update_survival", {"precisions": ["int3"]})


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.6, 0.9, "kept"), (0.4, 0.6, "undecided"), (0.1, 0.4, "erased"), (None, None, "undecided")],
)
def test_verdicts(low, high, verdict):
    assert update_survival._verdict(low, high) == verdict
