import pytest
import torch
from tiny import build
from torch import nn

from peftlens.errors import InputError
from peftlens.methods.compacter import (
    CompactAdapter,
    Config,
    KroneckerSum,
    attach,
    trainable_parameters,
)
from peftlens.models.architecture import shapes


def test_weight_is_the_sum_of_kronecker_products():
    shared = nn.Parameter(torch.tensor([[[1.0, 2.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]]))
    layer = KroneckerSum(shared, d_in=4, d_out=6, rank=1)
    s = [torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[0.0], [1.0], [-1.0]])]
    t = [torch.tensor([[1.0, -1.0]]), torch.tensor([[2.0, 0.5]])]
    with torch.no_grad():
        layer.left.copy_(torch.stack(s))
        layer.right.copy_(torch.stack(t))
        layer.bias.fill_(0.25)
    weight = sum(torch.kron(shared[i], s[i] @ t[i]) for i in range(2))
    # top left block: 1 * s₁t₁ + 0 * s₂t₂; its second row is 2 * (1, -1)
    assert weight[1, :2].tolist() == [2.0, -2.0]
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    torch.testing.assert_close(layer(x), x @ weight.T + 0.25)


def test_adapter_adds_gelu_between_down_and_up():
    adapter = CompactAdapter(
        nn.Parameter(torch.ones(1, 1, 1)), 2, Config(bottleneck_size=1, kronecker_terms=1)
    )
    with torch.no_grad():
        adapter.down.left.fill_(1.0)
        adapter.down.right.copy_(torch.tensor([[[1.0, 1.0]]]))
        adapter.up.left.copy_(torch.tensor([[[2.0], [0.0]]]))
        adapter.up.right.fill_(1.0)
    # down: -1 + 2 = 1; gelu(1) = 0.841345; up: 2 and 0 times that
    found = adapter(torch.tensor([-1.0, 2.0])).tolist()
    assert found == pytest.approx([-1.0 + 2 * 0.841345, 2.0], abs=1e-5)


def test_all_adapters_share_the_same_factors():
    model = build("llama")
    attach(model, Config(bottleneck_size=4, kronecker_terms=2))
    names = [name for name, p in model.named_parameters() if p.shape == (2, 2, 2)]
    assert names == ["kronecker_factors"]
    block = model.model.layers[2]
    before = block.mlp.compacter.down.weight(), block.self_attn.compacter.down.weight()
    with torch.no_grad():
        model.kronecker_factors.mul_(2.0)
    torch.testing.assert_close(block.mlp.compacter.down.weight(), 2 * before[0])
    torch.testing.assert_close(block.self_attn.compacter.down.weight(), 2 * before[1])


def test_count_by_hand():
    config = Config(bottleneck_size=8, kronecker_terms=4, rank=2)
    # shared 4³; 6 places; each 2 * (8 + 32) factors down and up, biases 8 + 32
    down, up = 2 * (8 + 32) + 8, 2 * (8 + 32) + 32
    assert trainable_parameters(config, shapes(build("llama"))) == 4**3 + 6 * (down + up)
    one = Config(bottleneck_size=8, kronecker_terms=4, rank=2, placement="feed_forward")
    assert trainable_parameters(one, shapes(build("llama"))) == 4**3 + 3 * (down + up)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Config(kronecker_terms=5), "kronecker_terms=5 must divide bottleneck_size=32"),
        (Config(kronecker_terms=5, bottleneck_size=5), "kronecker_terms=5 must divide width=32"),
        (Config(kronecker_terms=0), "kronecker_terms=0 must be .* at least 1"),
        (Config(rank=0), "rank=0 must be .* at least 1"),
        (Config(bottleneck_size=0), "bottleneck_size=0 must be .* at least 1"),
    ],
)
def test_values_that_can_not_work(config, message):
    with pytest.raises(InputError, match=message):
        trainable_parameters(config, shapes(build("llama")))
