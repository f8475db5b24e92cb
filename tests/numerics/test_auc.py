import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from peftlens.numerics.auc import auc


def test_the_area_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    ones, others = rng.integers(0, 9, 40) + 1.0, rng.integers(0, 9, 60).astype(float)  # with ties
    labels = [1] * 40 + [0] * 60
    assert auc(ones, others).value == pytest.approx(roc_auc_score(labels, [*ones, *others]))


def test_by_hand():
    """3 > 1, 3 > 2, 2 > 1, and 2 = 2 counts half: 3.5 of 4. Shares: 1 and 0.75; 1 and 0.75."""
    found = auc([3, 2], [1, 2])
    half = norm.ppf(0.975) * np.sqrt(2 * (0.25**2 / 2) / 2)
    assert found.value == 0.875
    assert found.interval.low == pytest.approx(0.875 - half)
    assert found.interval.high == 1


def test_few_and_equal_scores():
    assert auc([1], [0, 0]).interval.low is None
    assert auc([1, 1], [1, 1]).value == 0.5
    assert auc([2, 3], [0, 1]).interval.low == 1


def test_intervals_hold_the_true_area():
    """Normal scores one standard deviation apart: Φ(1/√2) = 0.760."""
    rng, true, held = np.random.default_rng(0), norm.cdf(1 / np.sqrt(2)), 0
    for _ in range(300):
        interval = auc(rng.normal(1, 1, 50), rng.normal(0, 1, 70)).interval
        held += interval.low < true < interval.high
    assert 0.92 < held / 300 < 0.98
