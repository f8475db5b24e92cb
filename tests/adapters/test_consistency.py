import pytest
import theirs
import torch
from safetensors.torch import load_file, save_file

from peftlens.adapters import adapter_config
from peftlens.adapters.adapter_config import METHOD, InvalidAdapterError
from peftlens.adapters.adapter_file import read

Q_PROJ = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.fixture
def save(tmp_path):
    """Save an adapter of a type by plain peft; gives its folder."""

    def make(kind="LORA", **changes):
        return theirs.save(theirs.wrapped(kind, **changes), tmp_path / kind, "org/base")

    return make


def put(folder, name, tensor):
    file = folder / "adapter_model.safetensors"
    save_file(load_file(file) | {name: tensor}, file)


@pytest.mark.parametrize(
    ("part", "tensor", "message"),
    [
        ("lora_A", torch.ones(8, 32, dtype=torch.int8), "as I8, which can't be trained weights"),
        ("lora_A", torch.ones(256), f"1 empty or flattened tensors: {Q_PROJ}.lora_A.weight; the"),
        ("lora_B", torch.ones(32, 0), f"1 empty or flattened tensors: {Q_PROJ}.lora_B.weight; the"),
        ("lora_A", torch.ones(4, 32), "says rank 8 for model.layers.0.*, but .* has 4; these"),
        ("lora_B", torch.ones(32, 4), "of model.layers.0.self_attn.q_proj that can't be multipl"),
    ],
)
def test_a_tensor_that_contradicts_the_others_is_named(save, part, tensor, message):
    folder = save()
    read(folder)
    put(folder, f"{Q_PROJ}.{part}.weight", tensor)
    with pytest.raises(InvalidAdapterError, match=message):
        read(folder)


def test_a_rank_of_a_module_may_differ_where_the_configuration_says_so(save):
    folder = save(rank_pattern={"layers.0.self_attn.q_proj": 4})
    assert read(folder).header[f"{Q_PROJ}.lora_A.weight"].shape == (4, 32)
    theirs.edit(folder, rank_pattern={})
    with pytest.raises(InvalidAdapterError, match="says rank 8 for .* has 4; these files do not"):
        read(folder)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("PROMPT_TUNING", {"num_virtual_tokens": 10**7}, r"=10000000, but .* 4 vectors, \[4, 32\]"),
        ("PROMPT_TUNING", {"token_dim": 64}, "token_dim=64, but .* has vectors of 32 values"),
        ("PREFIX_TUNING", {"num_layers": 30}, "num_layers=30, but .* has vectors of 96 values"),
    ],
)
def test_a_prompt_of_another_size_is_refused(save, kind, changes, message):
    folder = save(kind)
    read(folder)
    theirs.edit(folder, **changes)
    with pytest.raises(InvalidAdapterError, match=f"{message}; these files do not belong"):
        read(folder)


def test_a_prompt_without_its_vectors_is_refused(save):
    folder = save("PROMPT_TUNING")
    save_file({"other": torch.ones(2, 2)}, folder / "adapter_model.safetensors")
    with pytest.raises(InvalidAdapterError, match="holds no prompt_embeddings, the only tensor"):
        read(folder)


def test_integers_are_the_mask_of_a_method_of_ours(save):
    folder = save()
    put(folder, "mask", torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(InvalidAdapterError, match="holds mask as BOOL, which can't be trained"):
        read(folder)
    (folder / adapter_config.CONFIG).write_text(f'{{"{METHOD}": "fish_mask"}}')
    assert read(folder).header["mask"].dtype == "BOOL"


def test_pruned_directions_of_adalora_are_no_damage(save):
    folder = save("ADALORA")
    before = load_file(folder / "adapter_model.safetensors")
    none_left = {f"{Q_PROJ}.{part}": tensor.narrow(side, 0, 0).clone() for part, tensor, side in (
        ("lora_A", before[f"{Q_PROJ}.lora_A"], 0),
        ("lora_B", before[f"{Q_PROJ}.lora_B"], 1),
        ("lora_E", before[f"{Q_PROJ}.lora_E"], 0),
    )}  # fmt: skip
    save_file(before | none_left, folder / "adapter_model.safetensors")
    assert read(folder).header[f"{Q_PROJ}.lora_A"].size == 0


def test_an_expression_that_takes_too_long_is_refused(save):
    folder = save(target_modules=r"(.*\.)*layers\.\d+\.self_attn\.[qv]_proj")
    read(folder)
    theirs.edit(folder, target_modules=r"(([a-z_.]+)+\d?)+!")
    with pytest.raises(InvalidAdapterError, match="too long to match names of modules; write it"):
        read(folder)
