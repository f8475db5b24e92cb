import pytest
import torch
from tiny import build

from peftlens.anatomy import shapes
from peftlens.errors import BadInput
from peftlens.methods.bottleneck import Bottleneck, Config, attach, trainable_parameters


def test_forward_by_hand():
    adapter = Bottleneck(width=2, size=1)
    with torch.no_grad():
        adapter.down.weight.copy_(torch.tensor([[1.0, 2.0]]))
        adapter.down.bias.fill_(1.0)
        adapter.up.weight.copy_(torch.tensor([[3.0], [-1.0]]))
        adapter.up.bias.copy_(torch.tensor([0.5, 0.0]))
    # down: 1 + 4 + 1 = 6; up: 18.5 and -6; plus the input
    assert adapter(torch.tensor([1.0, 2.0])).tolist() == [19.5, -4.0]
    # down: -5 + 1 < 0, so relu gives 0; only the bias is added
    assert adapter(torch.tensor([-5.0, 0.0])).tolist() == [-4.5, 0.0]


def test_it_acts_on_every_feed_forward_layers_output():
    model = build("llama")
    x = torch.randn(1, 3, 32)
    plain = model.model.layers[1].mlp(x)
    attach(model, Config(bottleneck_size=4))
    with torch.no_grad():
        model.model.layers[1].mlp.bottleneck.up.bias.fill_(2.0)
    torch.testing.assert_close(model.model.layers[1].mlp(x), plain + 2.0)


def test_count_by_hand():
    # 3 blocks, d = 32, m = 4: 2 * 32 * 4 weights, 4 + 32 biases
    assert trainable_parameters(Config(bottleneck_size=4), shapes(build("llama"))) == 3 * 292


def test_size_of_zero():
    with pytest.raises(BadInput, match="bottleneck_size=0 must be at least 1"):
        trainable_parameters(Config(bottleneck_size=0), shapes(build("llama")))
