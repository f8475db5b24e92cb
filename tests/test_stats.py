import numpy as np
import pytest

from peftlens.stats import mean_interval, ratio_interval


def test_interval_of_a_mean_matches_the_normal_one():
    # 400 coin flips: standard error 0.025, so 0.5 ± 0.049
    values = np.repeat([0.0, 1.0], 200)
    interval = mean_interval(values, np.random.default_rng(0))
    assert interval.low == pytest.approx(0.451, abs=0.008)
    assert interval.high == pytest.approx(0.549, abs=0.008)


def test_the_seed_reaches_the_draw():
    values = np.arange(10.0)
    first, second, other = (mean_interval(values, np.random.default_rng(s)) for s in (1, 1, 2))
    assert first == second != other


def test_one_value_has_no_interval():
    interval = mean_interval([0.7], np.random.default_rng(0))
    assert interval.low is None
    assert interval.high is None


def test_ratio_weighs_by_the_denominator():
    # every ratio is 2, so any resample gives 2, whatever the weights
    interval = ratio_interval([2, 20, 200], [1, 10, 100], np.random.default_rng(0))
    assert (interval.low, interval.high) == (2.0, 2.0)


def test_interval_covers_at_about_its_level():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        interval = mean_interval(rng.normal(size=60), rng)
        hits += interval.low <= 0 <= interval.high
    assert 0.88 <= hits / 200 <= 0.99
