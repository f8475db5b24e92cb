import pytest
import torch
from safetensors.torch import load_file, save_file

import peftlens
from peftlens.evaluation import probe_runner
from peftlens.models.weight_precision import rounded
from peftlens.probes.update_survival_weights import Config, measure
from peftlens.runs.config import RunConfig


@pytest.fixture
def run(bases, words, tmp_path):
    return peftlens.train(
        RunConfig(
            method="lora", task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
            dtype="float32", training={"max_steps": 3, "batch_size": 4, "learning_rate": 0.05},
        ),
        tmp_path / "runs",
    )  # fmt: skip


def test_each_weight_is_measured_in_each_precision(context, run, llama):
    frame = measure(context, run, Config(precisions=("nf4", "bfloat16")))
    assert len(frame) == 2 * 6
    name = "model.layers.1.self_attn.v_proj.weight"
    row = frame[(frame["weight"] == name) & (frame["precision"] == "nf4")].iloc[0]
    tensors = load_file(run.adapter() / "adapter_model.safetensors")
    part = "base_model.model.model.layers.1.self_attn.v_proj.lora_{}.weight"
    update = 2 * tensors[part.format("B")] @ tensors[part.format("A")]  # alpha / rank = 2
    before = llama.model.get_parameter(name).detach()
    moved = rounded(before + update, "nf4") - rounded(before, "nf4")
    share = (moved * update).sum() / update.square().sum()
    assert row["projection"] == pytest.approx(share.item(), rel=1e-3)
    orthogonal = moved - share * update
    assert row["noise"] == pytest.approx((orthogonal.norm() / update.norm()).item(), rel=1e-3)
    assert torch.dot(orthogonal.flatten(), update.flatten()).abs() < 1e-6


def test_an_update_of_zero_has_no_rows(context, run, tmp_path):
    folder = tmp_path / "zero"
    folder.mkdir()
    (folder / "adapter_config.json").write_bytes(
        (run.adapter() / "adapter_config.json").read_bytes()
    )
    tensors = load_file(run.adapter() / "adapter_model.safetensors")
    save_file({n: 0 * t for n, t in tensors.items()}, folder / "adapter_model.safetensors")
    adapter = peftlens.load_adapter(folder)
    frame = probe_runner.run_probe(context, adapter, "update_survival_weights").frame
    assert frame["reason"].tolist() == ["no weight has an update"]
