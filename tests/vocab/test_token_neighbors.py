import numpy as np
import pytest
import torch

from peftlens.models.base_model import load_base_model
from peftlens.vocab.nearest_neighbors import METRICS, nearest, nearest_others
from peftlens.vocab.token_neighbors import pairs, token_neighbors
from peftlens.vocab.vocabulary import graph, vocabulary


@pytest.fixture
def table():
    torch.manual_seed(0)
    return torch.randn(300, 16) + 0.3  # its mean is not zero


@pytest.fixture
def density(table):
    return torch.from_numpy(nearest_others(table, 10, "test").similarity).mean(dim=1).float()


@pytest.mark.parametrize("tile", [64, 300, 1000])
@pytest.mark.parametrize("metric", METRICS)
def test_every_rows_nearest_others_are_among_its_pairs(table, density, metric, tile):
    low, high = pairs(table, density, 7, [metric], tile=tile)
    found = {*zip(low.tolist(), high.tolist(), strict=True)}
    ids = nearest(table, table, 8, metric, density=density).ids
    expected = {
        (min(row, int(other)), max(row, int(other)))
        for row in range(len(table))
        for other in [one for one in ids[row] if one != row][:7]
    }
    assert found == expected


def test_pairs_are_in_order_and_once_each(table, density):
    low, high = pairs(table, density, 3, METRICS)
    keys = low * len(table) + high
    assert (np.diff(keys) > 0).all()
    assert (low < high).all()


def test_a_row_of_zeros_has_cosine_zero_and_no_nan():
    table = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    low, high = pairs(table, torch.zeros(4), 1, METRICS)
    assert ((low >= 0) & (high < 4)).all()
    assert (1, 2) in {*zip(low.tolist(), high.tolist(), strict=True)}


def test_numbers_of_a_base_model(planted_base):
    base = load_base_model(str(planted_base), device="cpu", dtype="float32")
    found, table = token_neighbors(base, 4, ("cosine", "dot")), vocabulary(base).table.double()
    assert (found.k, found.metrics) == (4, ("cosine", "dot"))
    unit = table / table.norm(dim=1, keepdim=True)
    expected = (unit[found.low] * unit[found.high]).sum(dim=1).numpy()
    assert found.cosine == pytest.approx(expected, abs=1e-6)
    mean = table.mean(dim=0)
    assert found.norm == pytest.approx(table.norm(dim=1).numpy(), rel=1e-6)
    assert found.mean_product == pytest.approx((table @ mean).numpy(), abs=1e-5)
    assert found.mean_square == pytest.approx(float(mean @ mean))
    assert (found.density == graph(base).density).all()


def test_a_vocabulary_of_few_tokens_has_fewer_neighbors(planted_base):
    base = load_base_model(str(planted_base), device="cpu", dtype="float32")
    size = len(vocabulary(base).tokens)
    assert token_neighbors(base, 10**6, ("cosine",)).k == size - 1
