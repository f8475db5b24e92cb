import numpy as np
import pytest

from peftlens.numerics.resampling import (
    Interval,
    benjamini_hochberg,
    few_interval,
    interquartile_mean,
    log_odds,
    mean_interval,
    p_value,
    paired_interval,
    ratio_interval,
    share_interval,
)


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


def test_items_are_resampled_with_all_their_values():
    # the second value is always three times the first, so that the statistic never varies
    values = np.array([1.0, 5.0, 2.0])
    interval = paired_interval(
        (values, 3 * values), lambda one, other, axis: other.sum(axis) / one.sum(axis),
        np.random.default_rng(0),
    )  # fmt: skip
    assert (interval.low, interval.high) == (3.0, 3.0)


def test_interval_covers_at_about_its_level():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        interval = mean_interval(rng.normal(size=60), rng)
        hits += interval.low <= 0 <= interval.high
    assert 0.88 <= hits / 200 <= 0.99


def test_p_counts_the_draws_that_are_as_large():
    assert p_value(3, [1, 2, 3, 4]) == 3 / 5
    assert p_value(5, [1, 2, 3, 4]) == 1 / 5
    assert p_value(float("nan"), [1, 2, 3, 4]) == 1
    assert p_value(5, [1, 2, float("nan"), 4]) == 2 / 5


def test_false_discovery_by_hand():
    # p (i) n / i, made monotone from the largest down
    found = benjamini_hochberg([0.01, 0.04, 0.03, 0.5])
    np.testing.assert_allclose(found, [0.04, 0.16 / 3, 0.16 / 3, 0.5])


def test_log_odds_are_zero_for_equal_shares_and_change_sign_with_the_texts():
    np.testing.assert_allclose(log_odds([10, 20], [100, 200]), 0, atol=1e-12)
    one, other = [30, 5, 65], [10, 40, 50]
    np.testing.assert_allclose(np.sign(log_odds(one, other)), [1, -1, 1])


def test_log_odds_by_hand():
    # counts 3 and 1 against 1 and 3: the prior is both together, at the weight of the first
    prior = np.array([2.0, 2.0])
    a, b = np.array([3, 1]) + prior, np.array([1, 3]) + prior
    delta = np.log(a[0] / a[1]) - np.log(b[0] / b[1])
    expected = delta / np.sqrt(1 / a[0] + 1 / b[0])
    np.testing.assert_allclose(log_odds([3, 1], [1, 3]), [expected, -expected])


def test_an_interval_of_a_few_seeds_is_students():
    found = few_interval([1.0, 2.0, 3.0])  # t of 2 degrees of freedom: 4.3027; s = 1
    assert (found.low, found.high) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5))
    assert few_interval([1.0]) == Interval(None, None)


def test_interquartile_mean_leaves_out_the_outer_quarters():
    assert interquartile_mean([100, 1, 2, 3, 4, 5, 6, -50]) == pytest.approx(3.5)


def test_an_interval_of_shares_ends_where_shares_do():
    assert few_interval([0.2, 0.6, 0.9], (0, 1)) == Interval(0, 1)
    inside = few_interval([0.5, 0.51, 0.52], (0, 1))
    assert inside == few_interval([0.5, 0.51, 0.52])


def test_the_interval_of_a_share_is_wilson_s():
    """7 of 10: (p + z²/2n ± z √(p (1 - p)/n + z²/4n²)) / (1 + z²/n) with z = 1.96."""
    found = share_interval(7, 10)
    assert (found.low, found.high) == pytest.approx((0.3968, 0.8922), abs=1e-4)
    none, all_of_them = share_interval(0, 10), share_interval(10, 10)
    assert (none.low, all_of_them.high) == pytest.approx((0.0, 1.0))
    assert none.high == pytest.approx(1 - all_of_them.low) == pytest.approx(0.2775, abs=1e-4)
    assert share_interval(0, 0).low is None
