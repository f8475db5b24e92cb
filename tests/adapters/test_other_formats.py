import shlex
import subprocess

import pytest
import torch
from safetensors.torch import load_file, save_file

from peftlens.adapters.other_formats import other_format, without_weights


@pytest.mark.parametrize(
    ("name", "program"),
    [
        ("adapters.safetensors", "mlx-lm"),
        ("pytorch_adapter.bin", "AdapterHub"),
        ("pytorch_lora_weights.safetensors", "diffusers"),
        ("adapter.gguf", "llama.cpp"),
        ("adapter.nemo", "NeMo"),
        ("lit_config.json", "LitGPT"),
    ],
)
def test_programs_are_known_by_their_files(tmp_path, name, program):
    assert other_format(tmp_path, {}) is None
    (tmp_path / name).write_bytes(b"")
    assert program in (other_format(tmp_path, {}) or "")


def test_kohya_is_known_by_its_names(tmp_path):
    tensors = {"lora_unet_down_blocks_0.lora_down.weight": torch.ones(2, 2)}
    save_file(tensors, tmp_path / "style.safetensors")
    assert "Kohya" in (other_format(tmp_path, {}) or "")


def test_the_state_of_a_training_is_never_offered(tmp_path):
    for name in ("optimizer.pt", "training_args.bin", "rng_state_0.pth", "scheduler.pt"):
        (tmp_path / name).write_bytes(b"")
    assert "get the file, or save the adapter again" in without_weights(tmp_path, {})
    (tmp_path / "adapter_model.bin").write_bytes(b"")
    assert "adapter_model.bin was not opened" in without_weights(tmp_path, {})


def test_the_offered_conversion_works_on_shared_and_strided_tensors(tmp_path):
    folder = tmp_path / "her's $folder"
    folder.mkdir()
    table = torch.arange(6.0).reshape(2, 3)
    torch.save({"a": table, "b": table, "c": table.T}, folder / "adapter_model.bin")
    command = without_weights(folder, {}).partition("convert it: ")[2]
    subprocess.run(shlex.split(command), check=True)
    assert torch.equal(load_file(folder / "adapter_model.safetensors")["c"], table.T)
