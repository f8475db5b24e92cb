"""Names that plain peft assigns to nothing, and those that it converts or accepts."""

import peft
import pytest
import theirs
from safetensors.torch import load_file, save_file
from tiny import build

from peftlens.adapters.adapter_file import read
from peftlens.adapters.tensor_names import (
    adapted_modules,
    misplaced,
    module_and_part,
    module_of,
    owner_of,
    replaced,
    without_prefix,
)

P = "base_model.model."


@pytest.mark.filterwarnings("ignore::UserWarning")  # peft's, of missing tensors
@pytest.mark.parametrize(
    ("change", "placed"),
    [
        (lambda n: f"_orig_mod.{n}", False),
        (lambda n: n.replace(P, f"{P}_orig_mod."), False),
        (lambda n: n.replace("layers.", "_fsdp_wrapped_module.layers."), False),
        (lambda n: f"module.{n}", False),
        (lambda n: P + n, False),
        (lambda n: n.replace(".weight", ".topics.weight"), False),
        (lambda n: n.replace(".weight", ".default.weight"), True),
    ],
)
def test_names_without_a_place_are_those_that_peft_ignores(tmp_path, change, placed):
    folder = theirs.save(theirs.wrapped("LORA"), tmp_path / "a", "org/base")
    file = folder / "adapter_model.safetensors"
    save_file({change(n): t for n, t in load_file(file).items()}, file)
    model = peft.PeftModel.from_pretrained(build("llama"), folder)
    assert any(p.any() for n, p in model.named_parameters() if "lora_B" in n) is placed
    assert bool(misplaced(read(folder))) is not placed


def test_a_missing_prefix_is_told_apart(tmp_path):
    folder = theirs.save(theirs.wrapped("LORA"), tmp_path / "a", "org/base")
    file = folder / "adapter_model.safetensors"
    save_file({n.removeprefix(P): t for n, t in load_file(file).items()}, file)
    assert len(without_prefix(read(folder))) == 12
    assert not misplaced(read(folder))


def test_modules_and_replaced_layers(tmp_path):
    model = theirs.wrapped("LORA", modules_to_save=["lm_head"])
    file = read(theirs.save(model, tmp_path / "a", "org/base"))
    assert replaced(file) == [f"{P}lm_head.weight"]
    assert adapted_modules(file)[0] == "model.layers.0.self_attn.q_proj"
    assert len(adapted_modules(file)) == 6
    assert module_and_part("base_model.vera_A", "VERA") == ("", "vera_A")


def test_the_module_of_a_loras_tensor_and_the_owner_of_a_wrapped_parameter():
    experts = "model.layers.0.mlp.experts"
    assert module_of(f"{P}model.layers.0.self_attn.q_proj.lora_A.weight") == (
        "model.layers.0.self_attn.q_proj"
    )
    assert module_of(f"{P}{experts}.base_layer.lora_B.weight") == f"{experts}.base_layer"
    assert owner_of(f"{experts}.base_layer.base_layer") == owner_of(experts) == experts
