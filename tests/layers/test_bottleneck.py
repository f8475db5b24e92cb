import pytest
import torch
from tiny import build
from torch import nn

from peftlens.layers.bottleneck import (
    Bottleneck,
    Parallel,
    bottleneck_parameters,
    change_output,
    places,
    watch_input,
)
from peftlens.models.architecture import shapes


def by_hand(module):
    with torch.no_grad():
        module.down.weight.copy_(torch.tensor([[1.0, 2.0]]))
        module.down.bias.fill_(1.0)
        module.up.weight.copy_(torch.tensor([[3.0], [-1.0]]))
        module.up.bias.copy_(torch.tensor([0.5, 0.0]))
    return module


class Pair(nn.Module):
    def forward(self, hidden_states):
        return 2 * hidden_states, "weights"


def test_forward_by_hand():
    adapter = by_hand(Bottleneck(width=2, size=1))
    # down gives 1 + 4 + 1 = 6, up 18.5 and -6
    assert adapter(torch.tensor([1.0, 2.0])).tolist() == [18.5, -6.0]
    # down: -5 + 1 < 0, so relu gives 0; only the bias is left
    assert adapter(torch.tensor([-5.0, 0.0])).tolist() == [0.5, 0.0]


def test_nothing_is_added_at_the_start():
    assert not Bottleneck(4, 3)(torch.randn(5, 4)).any()


def test_parallel_adds_what_it_makes_of_the_input_to_the_output():
    model = nn.Sequential(nn.Identity(), Pair())
    adapter = Parallel(2, 1, scale=2.0)
    by_hand(adapter.bottleneck)
    adapter.put_beside(model, "1")
    output, other = model[1](torch.tensor([[[1.0, 2.0]]]))
    # twice the input, and twice 18.5 and -6
    assert output.tolist() == [[[2.0 + 37.0, 4.0 - 12.0]]]
    assert other == "weights"


def test_an_input_given_by_name_is_seen():
    module, seen = Pair(), []
    watch_input(module, seen.append)
    x = torch.ones(1, 1, 2)
    module(hidden_states=x)
    module(2 * x)
    assert [one.tolist() for one in seen] == [x.tolist(), (2 * x).tolist()]


def test_only_the_first_output_is_changed():
    module = Pair()
    change_output(module, lambda hidden: hidden + 1)
    output, other = module(torch.ones(1, 1, 2))
    assert output.tolist() == [[[3.0, 3.0]]]
    assert other == "weights"
    plain = nn.Identity()
    change_output(plain, lambda hidden: -hidden)
    assert plain(torch.ones(2)).tolist() == [-1.0, -1.0]


def test_parameters_by_hand():
    counted = sum(p.numel() for p in Bottleneck(5, 3).parameters())
    assert bottleneck_parameters(5, 3) == 2 * 5 * 3 + 3 + 5 == counted


@pytest.mark.parametrize(
    ("placement", "ends"),
    [
        ("feed_forward", ("mlp",)),
        ("attention", ("self_attn",)),
        ("both", ("self_attn", "mlp")),
    ],
)
def test_places(placement, ends):
    expected = {f"model.layers.{block}.{end}": 32 for block in range(3) for end in ends}
    assert places(shapes(build("llama")), placement) == expected
