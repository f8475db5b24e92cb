import json

import pytest
import theirs
import torch
from safetensors.torch import load_file, save_file

from peftlens.adapters.adapter_file import (
    METHOD,
    Entry,
    InvalidAdapterError,
    read,
    write_weights,
)
from peftlens.errors import InputError


@pytest.fixture
def folder(tmp_path):
    return theirs.save(theirs.wrapped("LORA"), tmp_path / "lora", "org/base")


def test_header_and_configuration_are_read_without_the_weights(folder):
    file = read(folder)
    assert (file.adapter_type, file.method, file.is_peft_type) == ("LORA", "peft:LORA", True)
    assert file.options == {"r": 8}
    assert file.config["base_model_name_or_path"] == "org/base"
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    assert file.header[name] == Entry("F32", (8, 32))
    assert file.header[name].size == 256
    assert len(file.header) == 12
    file.require_sound()


def test_a_method_of_ours_has_all_its_options(folder):
    config = folder / "adapter_config.json"
    config.write_text(json.dumps({METHOD: "bottleneck", "bottleneck_size": 4}))
    file = read(folder)
    assert (file.adapter_type, file.is_peft_type, file.options["bottleneck_size"]) == (
        "bottleneck",
        False,
        4,
    )
    theirs.edit(folder, **{METHOD: "bottlenek"})
    with pytest.raises(InputError, match="did you mean bottleneck"):
        read(folder)


def test_what_is_broken_is_told_from_what_is_refused(folder):
    with pytest.raises(InputError, match="is not an adapter") as no_adapter:
        read(folder.parent)
    assert not isinstance(no_adapter.value, InvalidAdapterError)
    theirs.edit(folder, megatron_core="theirs")
    with pytest.raises(InputError, match="runs|import code") as refused:
        read(folder)
    assert not isinstance(refused.value, InvalidAdapterError)
    assert read(folder, trust_remote_code=True).adapter_type == "LORA"


def test_tensors_that_are_not_finite_are_named(folder):
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    bad = next(name for name in tensors if "lora_B" in name)
    save_file(tensors | {bad: tensors[bad] / 0}, file)
    found = read(folder)
    assert found.non_finite_tensors == [bad]
    with pytest.raises(InvalidAdapterError, match="NaN or infinite values"):
        found.require_sound()


def test_the_same_tensors_are_the_same_bytes(tmp_path):
    tensors = {"b": torch.ones(3), "a": torch.zeros(2, 2, dtype=torch.bfloat16)}
    for n in range(20):
        write_weights(tensors, tmp_path / str(n), {"z": "1", "format": "pt", "é": "2"})
    assert len({file.read_bytes() for file in tmp_path.iterdir()}) == 1
    again = load_file(tmp_path / "0")
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())
