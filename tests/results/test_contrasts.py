import numpy as np
import pandas as pd
import pytest

from peftlens.numerics.mixed_model import crossed_estimate
from peftlens.results.contrasts import contrast


def frame(values, seeds=(0, 1), items=(0, 1, 2)):
    return pd.DataFrame(values, index=seeds, columns=items, dtype=float)


def test_it_is_the_estimate_of_the_weighted_sum():
    a = frame([[1, 0, 1], [1, 1, 0]])
    b = frame([[0, 0, 1], [0, 1, 0]])
    found = contrast({"a": a, "b": b}, {"a": 2.0, "b": -1.0})
    assert found == crossed_estimate([[2, 0, 1], [2, 1, 0]])
    assert found.value == pytest.approx(1.0)


def test_only_shared_seeds_and_items_count_whatever_their_order():
    a = frame([[1, 2, 3], [4, 5, 6]], seeds=(1, 0))
    b = frame(np.zeros((3, 3)), seeds=(0, 1, 2), items=(2, 0, 7))
    found = contrast({"a": a, "b": b, "unused": frame(np.ones((2, 3)))}, {"a": 1, "b": 1})
    assert found.value == pytest.approx(np.mean([1, 3, 4, 6]))


def test_one_shared_seed_or_item_is_none():
    a, b = frame(np.zeros((2, 3))), frame(np.zeros((2, 3)), seeds=(1, 2))
    assert contrast({"a": a, "b": b}, {"a": 1, "b": -1}) is None
    c = frame(np.zeros((2, 3)), items=(2, 3, 4))
    assert contrast({"a": a, "c": c}, {"a": 1, "c": -1}) is None


def test_an_interaction_is_covered():
    """Four configurations with noise of seeds and items: 95 % intervals hold the true change."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        items = rng.normal(0, 0.1, (4, 1, 50)) + rng.normal(0, 0.3, (1, 1, 50))
        seeds = rng.normal(0, 0.02, (4, 6, 1))
        values = 0.5 + items + seeds + rng.normal(0, 0.2, (4, 6, 50))
        scores = {name: pd.DataFrame(one) for name, one in zip("abcd", values, strict=True)}
        found = contrast(scores, {"a": 1.0, "b": -1.0, "c": -1.0, "d": 1.0})
        hits += found.low <= 0 <= found.high
    assert 0.92 <= hits / 400 <= 0.99
