import pytest
import torch
from tiny import build

from peftlens.errors import InputError
from peftlens.methods.bitfit import Config, attach, trainable_parameters
from peftlens.models.architecture import shapes


def test_model_without_biases():
    with pytest.raises(InputError, match="no biases to train; add_biases=true gives"):
        trainable_parameters(Config(), shapes(build("llama")))
    with pytest.raises(InputError, match="no biases to train"):
        attach(build("llama"), Config())


def test_every_bias_is_trained_and_nothing_else():
    model = attach(build("gpt2"), Config())
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {name for name, _ in model.named_parameters() if name.endswith(".bias")}
    assert "transformer.h.0.attn.c_attn.bias" in trained


def test_added_biases_are_zero_and_act():
    model = build("llama")
    layer = model.model.layers[1].self_attn.v_proj
    x = torch.randn(2, 32)
    plain = layer(x)
    attach(model, Config(add_biases=True))
    assert torch.equal(layer(x), plain)
    with torch.no_grad():
        layer.bias.fill_(2.0)
    torch.testing.assert_close(layer(x), plain + 2.0)


def test_count_by_hand():
    # a block of GPT-2: norms 2 * 32, c_attn 96, c_proj 32, c_fc 128, c_proj 32; the last norm 32
    expected = 2 * (64 + 96 + 32 + 128 + 32) + 32
    assert trainable_parameters(Config(), shapes(build("gpt2"))) == expected
    assert trainable_parameters(Config(add_biases=True), shapes(build("gpt2"))) == expected


def test_count_of_added_biases_by_hand():
    # a block: q, o 32; k, v 16; gate, up 64; down 32
    expected = 3 * (2 * 32 + 2 * 16 + 2 * 64 + 32)
    assert trainable_parameters(Config(add_biases=True), shapes(build("llama"))) == expected
