import pytest
import torch
from tiny import Stack, build

from peftlens.errors import InputError
from peftlens.methods.random_mask import Config, attach, trainable_parameters
from peftlens.models.architecture import shapes


def places(seed, density=0.3):
    torch.manual_seed(seed)
    model = attach(Stack([[0.0] * 10] * 10), Config(density=density))
    with torch.no_grad():
        model.sparse_update.values.fill_(1.0)
    return model.layers[0].weight.flatten().nonzero().flatten()


def test_the_run_seed_draws_so_many_different_places():
    assert len(places(0)) == 30
    assert torch.equal(places(0), places(0))
    assert not torch.equal(places(0), places(1))


def test_places_are_drawn_from_everywhere():
    drawn = torch.cat([places(seed) for seed in range(40)])
    counts = torch.bincount(drawn, minlength=100)
    assert counts.min() > 0  # 12 expected of each


def test_count_by_hand():
    # a block: q, o 32 * 32; k, v 16 * 32; gate, up, down 64 * 32
    entries = 3 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 64 * 32)
    found = trainable_parameters(Config(density=0.01), shapes(build("llama")))
    assert found == round(0.01 * entries) == 276


@pytest.mark.parametrize("density", [0, 1e-9, 1.01, float("nan")])
def test_share_that_can_not_work(density):
    with pytest.raises(InputError, match="density=.* must lie between"):
        trainable_parameters(Config(density=density), shapes(build("llama")))
