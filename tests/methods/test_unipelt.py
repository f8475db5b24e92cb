import math

import pytest
import torch
from tiny import build, setting

from peftlens.errors import InputError
from peftlens.methods.unipelt import (
    Config,
    GatedBottleneck,
    GatedLora,
    attach,
    resolve_config,
    trainable_parameters,
)
from peftlens.models.architecture import shapes


def test_lora_behind_its_gate_by_hand():
    lora = GatedLora(2, 1, Config(rank=1, alpha=3))
    with torch.no_grad():
        lora.gate.linear.weight.copy_(torch.tensor([[math.log(3), 0.0]]))
        lora.gate.linear.bias.zero_()
        lora.a.weight.fill_(1.0)
        lora.b.weight.fill_(2.0)
    # gate: sigmoid(ln 3) = 0.75; A x = 3; B A x = 6; alpha / rank = 3
    assert lora(torch.tensor([1.0, 2.0])).item() == pytest.approx(0.75 * 3 * 6)


def test_each_position_has_its_own_gate():
    adapter = GatedBottleneck(2, 1)
    with torch.no_grad():
        adapter.gate.linear.weight.copy_(torch.tensor([[math.log(3), 0.0]]))
        adapter.gate.linear.bias.zero_()
        adapter.bottleneck.up.bias.fill_(4.0)
    # sigmoid(0) = 0.5 and sigmoid(-ln 3) = 0.25, of the 4 that is added
    found = adapter(torch.tensor([[0.0, 1.0], [-1.0, 1.0]]))
    torch.testing.assert_close(found, torch.tensor([[2.0, 3.0], [0.0, 2.0]]))


def test_prefix_is_scaled_by_its_gate():
    prefix = attach(build("llama"), Config(num_virtual_tokens=2)).prefix
    torch.testing.assert_close(prefix.layers(), prefix.states / 2)
    with torch.no_grad():
        prefix.gate[1] = math.log(3)
    torch.testing.assert_close(prefix.layers()[1], 0.75 * prefix.states[1])
    torch.testing.assert_close(prefix.layers()[2], 0.5 * prefix.states[2])


def test_the_prefix_starts_at_the_keys_of_common_tokens():
    model = build("llama")
    read = model(torch.tensor([[90, 90]]), use_cache=True).past_key_values
    states = attach(model, Config(num_virtual_tokens=2, common_ids=((90, 90),))).prefix.states
    for layer, found in zip(read.layers, states, strict=True):
        torch.testing.assert_close(found, torch.stack([layer.keys[0], layer.values[0]]))
    assert resolve_config(Config(), setting()).common_ids == ((3, 258),)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "neox", "opt"])
def test_the_last_token_does_not_reach_earlier_ones(kind):
    model = attach(build(kind), Config(rank=2, num_virtual_tokens=3, bottleneck_size=4))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.3)
    one = model(input_ids=torch.tensor([[5, 6, 7, 8]])).logits
    other = model(input_ids=torch.tensor([[5, 6, 7, 99]])).logits
    torch.testing.assert_close(one[:, :-1], other[:, :-1])
    assert not torch.allclose(one[:, -1], other[:, -1])


def test_count_by_hand():
    config = Config(rank=2, num_virtual_tokens=3, bottleneck_size=4)
    q, v = 2 * (32 + 32) + 33, 2 * (16 + 32) + 33
    adapter = 2 * 32 * 4 + 4 + 32 + 33
    prefix = 2 * 3 * 16 + 1
    assert trainable_parameters(config, shapes(build("llama"))) == 3 * (q + v + adapter + prefix)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Config(rank=0), "rank=0"),
        (Config(alpha=-1), "alpha=-1"),
        (Config(bottleneck_size=0), "bottleneck_size=0"),
        (Config(num_virtual_tokens=0), "num_virtual_tokens=0"),
    ],
)
def test_values_that_can_not_work(config, message):
    with pytest.raises(InputError, match=message):
        trainable_parameters(config, shapes(build("llama")))
