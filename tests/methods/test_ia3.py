import pytest
import torch
from tiny import build

from peftlens.errors import InputError
from peftlens.methods.ia3 import Config, attach, trainable_parameters
from peftlens.models.architecture import shapes


def test_keys_and_values_are_scaled_at_their_outputs():
    model = build("llama")
    x = torch.randn(2, 32)
    plain = model.model.layers[0].self_attn.v_proj(x)
    layer = attach(model, Config()).base_model.model.model.layers[0].self_attn.v_proj
    scale = torch.arange(16.0)
    with torch.no_grad():
        layer.ia3_l["default"].copy_(scale[:, None])
    torch.testing.assert_close(layer(x), plain * scale)


def test_feed_forward_layers_are_scaled_at_their_inputs():
    model = build("llama")
    weight = model.model.layers[0].mlp.down_proj.weight
    x = torch.randn(2, 64)
    layer = attach(model, Config()).base_model.model.model.layers[0].mlp.down_proj
    scale = torch.arange(64.0)
    with torch.no_grad():
        layer.ia3_l["default"].copy_(scale[None])
    torch.testing.assert_close(layer(x), (x * scale) @ weight.T)


def test_count_by_hand():
    # k and v give 16 each, down reads 64
    assert trainable_parameters(Config(), shapes(build("llama"))) == 3 * (16 + 16 + 64)
    # GPT-2: c_attn gives 96, c_proj of the feed-forward reads 128
    assert trainable_parameters(Config(), shapes(build("gpt2"))) == 2 * (96 + 128)


@pytest.mark.parametrize(("kind", "expected"), [("neox", 2 * (96 + 64)), ("opt", 2 * (64 + 64))])
def test_kinds_of_model_agree_with_the_formula(kind, expected):
    model = build(kind)
    assert trainable_parameters(Config(), shapes(model)) == expected
    wrapped = attach(model, Config())
    assert sum(p.numel() for p in wrapped.parameters() if p.requires_grad) == expected


def test_target_that_matches_nothing():
    with pytest.raises(InputError, match="'query' matches no layer"):
        trainable_parameters(Config(target_modules=("query",)), shapes(build("llama")))
