"""NF4 of the base on a CPU; bitsandbytes comes with the tests' extra."""

import sys

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, get_4bit_type
from bitsandbytes.nn import Linear4bit
from tiny import build
from transformers import LlamaConfig, LlamaForCausalLM

from peftlens.errors import InputError
from peftlens.methods.qlora import Config, attach, merge, trainable_parameters
from peftlens.models.architecture import shapes
from peftlens.models.base_model import load_base_model
from peftlens.models.snapshot import restored_after


def bytes_of(model: torch.nn.Module) -> int:
    """Storage of all weights that are not trained, and of what their quantization needs."""
    tensors = {p.data_ptr(): p for p in model.parameters() if not p.requires_grad}
    for module in model.modules():
        if isinstance(module, Linear4bit):
            state = module.weight.quant_state
            nested = (state.state2.absmax, state.state2.code) if state.nested else ()
            tensors |= {t.data_ptr(): t for t in (state.absmax, state.code, *nested)}
    return sum(t.numel() * t.element_size() for t in tensors.values())


@pytest.fixture
def wide():
    """A Llama whose rows have the length of a block of NF4, at least."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=99, **sizes, **heads)).eval()


def of_nf4(weight):
    """The nearest of 16 levels in each block of 64, scaled by the block's largest entry."""
    levels = get_4bit_type("nf4", device="cpu")
    blocks = weight.flatten().view(-1, 64)
    scales = blocks.abs().amax(dim=1, keepdim=True)
    nearest = ((blocks / scales)[..., None] - levels).abs().argmin(dim=-1)
    return (levels[nearest] * scales).view_as(weight)


def unpacked(layer):
    return dequantize_4bit(layer.weight.data, layer.weight.quant_state)


def test_every_linear_layer_of_the_blocks_is_quantized_and_nothing_else(wide):
    wrapped = attach(wide, Config(rank=2))
    found = {n.split(".")[-1] for n, m in wrapped.named_modules() if type(m) is torch.nn.Linear}
    assert found == {"default", "lm_head"}  # A, B and the head
    assert sum(isinstance(m, Linear4bit) for m in wrapped.modules()) == 2 * 7


def test_short_rows_stay_as_they_are():
    wrapped = attach(build("llama"), Config(rank=2))
    found = {n.split(".")[-1] for n, m in wrapped.named_modules() if isinstance(m, Linear4bit)}
    assert found == {"down_proj"}  # the one layer with 64 inputs


def test_weights_are_the_nearest_levels_of_nf4(wide):
    original = wide.model.layers[0].mlp.up_proj.weight.detach().clone()
    attach(wide, Config(double_quant=False))
    found = unpacked(wide.model.layers[0].mlp.up_proj)
    torch.testing.assert_close(found, of_nf4(original), rtol=1e-5, atol=1e-7)
    assert 0.05 < (found - original).norm() / original.norm() < 0.12


def test_an_adapted_layer_computes_the_unpacked_weight_and_the_update(wide):
    wrapped = attach(wide, Config(rank=2, alpha=6))
    layer = wrapped.base_model.model.model.layers[0].self_attn.q_proj
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    with torch.no_grad():
        b.normal_()
    x = torch.randn(5, 64)
    expected = x @ (unpacked(layer.base_layer) + (6 / 2) * b @ a).T
    torch.testing.assert_close(layer(x), expected)


def test_merged_holds_the_sum(wide):
    wrapped = attach(wide, Config(rank=2))
    layer = wrapped.base_model.model.model.layers[1].self_attn.v_proj
    with torch.no_grad():
        layer.lora_B["default"].weight.normal_()
    expected = unpacked(layer.base_layer) + layer.get_delta_weight("default")
    plain = merge(wrapped)
    torch.testing.assert_close(plain.model.layers[1].self_attn.v_proj.weight, expected)
    assert not any(isinstance(module, Linear4bit) for module in plain.modules())


def test_count_is_loras():
    assert trainable_parameters(Config(rank=4), shapes(build("llama"))) == 3 * 4 * (64 + 48)


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(InputError, match=r'python -m pip install -e ".*\[quant\]"'):
        trainable_parameters(Config(), shapes(build("llama")))


@pytest.mark.slow
def test_memory_of_the_real_base():
    """Under 40 % of float32, in either dtype of what is not quantized; scales are counted."""
    share = {}
    for dtype in ("float32", "bfloat16"):
        model = load_base_model("smollm2-135m", device="cpu", dtype=dtype).model
        with restored_after(model):
            share[dtype] = bytes_of(attach(model, Config())) / (4 * 134_515_008)
    assert share["float32"] == pytest.approx(0.313, abs=0.005)
    assert share["bfloat16"] == pytest.approx(0.208, abs=0.005)
