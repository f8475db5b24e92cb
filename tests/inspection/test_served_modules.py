"""Fates of single modules, from names and shapes."""

from types import SimpleNamespace
from typing import Any

import pytest

from peftlens.adapters.adapter_file import Entry
from peftlens.inspection.served_modules import fates
from peftlens.models.outline import Outline

TEXT = "model.language_model.layers.0.self_attn.q_proj"
TOWER = "model.vision_tower.layers.0.self_attn.q_proj"
WRAPPER = Outline(
    "Gemma3ForConditionalGeneration", {TEXT: (16, 32), TOWER: (32, 32), "lm_head": (99, 32)},
    {}, 1, 99, False,
)  # fmt: skip


def lora(name: str, d_out: int = 16, d_in: int = 32) -> Any:
    shapes = {"lora_A": (4, d_in), "lora_B": (d_out, 4)}
    header = {
        f"base_model.model.{name}.{part}.weight": Entry("F32", shape)
        for part, shape in shapes.items()
    }
    return SimpleNamespace(header=header, is_peft_type=True, adapter_type="LORA")


OLD = "language_model.model.layers.0.self_attn.q_proj"
BARE = "model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("program", "name", "kind"),
    [
        ("vllm", TEXT, "applied"), ("vllm", OLD, "applied"), ("vllm", BARE, "ignored"),
        ("sglang", TEXT, "applied"), ("sglang", OLD, "applied"), ("sglang", BARE, "applied"),
        ("llama.cpp", TEXT, "applied"), ("llama.cpp", OLD, "applied"),
        ("llama.cpp", BARE, "applied"), ("transformers", TEXT, "applied"),
        ("transformers", BARE, "ignored"),
        ("sglang", "model.layers.1.self_attn.q_proj", "refused"),  # the base has one layer
        ("vllm", "model.layers.0.self_attn.wq", "refused"),  # no linear layer ends so
        ("sglang", "model.layers.0.self_attn.wq", "refused"),
        ("llama.cpp", "model.layers.0.self_attn.unheard", "refused"),
    ],
)  # fmt: skip
def test_names_with_and_without_a_wrapper(program, name, kind):
    assert fates(program, lora(name), WRAPPER)[name].kind == kind


@pytest.mark.parametrize(("program", "kind"), [("vllm", "ignored"), ("sglang", "refused"),
                                               ("transformers", "applied")])  # fmt: skip
def test_a_vision_tower_is_not_the_language_model(program, kind):
    assert fates(program, lora(TOWER, 32), WRAPPER)[TOWER].kind == kind


def test_factors_of_another_size_are_refused():
    fate = fates("transformers", lora(TEXT, 24), WRAPPER)[TEXT]
    assert fate.kind == "refused"
    assert "24 values for the base's 16" in fate.reason
