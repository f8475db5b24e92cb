"""The mixed model against closed forms and simulated coverage."""

import numpy as np
import pytest
from scipy import stats

from peftlens.numerics.mixed_model import (
    covariance_of_means,
    crossed_estimate,
    holm,
    pooled_seeds,
)


def simulated(rng, seed_sd, item_variance, residual, shape=(3, 300)):
    seeds, items = shape
    return (
        rng.normal(0, seed_sd, (seeds, 1))
        + rng.normal(0, item_variance**0.5, (1, items))
        + rng.normal(0, residual**0.5, shape)
    )


def test_items_alone_give_students_t():
    values = np.random.default_rng(0).normal(0.2, 1, 40)
    estimate = crossed_estimate(values[None])
    expected = stats.ttest_1samp(values, 0)
    assert estimate.p_value == pytest.approx(expected.pvalue)
    assert (estimate.low, estimate.high) == pytest.approx(expected.confidence_interval(0.95))


def test_seeds_that_decide_alone_give_students_t_over_them():
    means = np.array([0.1, 0.4, 0.3])
    estimate = crossed_estimate(np.repeat(means[:, None], 50, axis=1))
    expected = stats.ttest_1samp(means, 0).confidence_interval(0.95)
    assert (estimate.low, estimate.high) == pytest.approx(expected)


def test_seeds_of_equal_means_are_no_certainty():
    # both seeds answer half of the items right, and not the same ones: residual 8 / 3
    values = np.array([[1.0, -1.0, 1.0, -1.0], [-1.0, 1.0, -1.0, 1.0]])
    estimate = crossed_estimate(values)
    assert estimate.value == 0
    assert estimate.standard_error == pytest.approx((8 / 3 / 20 / 8) ** 0.5)
    assert crossed_estimate(values + 0.01).p_value > 0.5


def test_items_that_vary_alike_for_all_seeds_give_both_variances():
    """Mean squares by hand: seeds 4 x 2 / 1, items 2 x 20 / 3, no residual."""
    seeds, items = np.array([[1.0], [-1.0]]), np.array([[3.0, 1.0, -1.0, -3.0]])
    estimate = crossed_estimate(seeds + items)
    assert estimate.standard_error == pytest.approx(((8 + 40 / 3) / 8) ** 0.5)
    freedom = (8 + 40 / 3) ** 2 / (8**2 / 1 + (40 / 3) ** 2 / 3)  # Satterthwaite
    assert estimate.degrees_of_freedom == pytest.approx(freedom)


def test_equal_values_have_no_width_and_one_item_no_interval():
    assert crossed_estimate(np.ones((3, 5))).low == 1
    assert crossed_estimate(np.ones((3, 5))).p_value == 0
    assert crossed_estimate(np.zeros((3, 5))).p_value == 1
    assert crossed_estimate(np.ones((3, 1))).low is None


@pytest.mark.parametrize(
    ("seed_sd", "item", "residual"),
    [(0, 0.0005, 0.066), (0.01, 0.0005, 0.066), (0.03, 0, 0.066), (0.05, 0.13, 0.066)],
)
def test_coverage(seed_sd, item, residual):
    """93 to 97 % in every regime; the limits are those of 600 simulations around them."""
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(600):
        one = crossed_estimate(simulated(rng, seed_sd, item, residual))
        inside += one.low <= 0 <= one.high
    assert 0.915 <= inside / 600 <= 0.985


def test_pooled_seeds_narrow_the_intervals_of_like_configurations_and_cover():
    rng = np.random.default_rng(2)
    inside, widths, alone = [], [], []
    for _ in range(150):
        scores = np.stack([simulated(rng, 0.02, 0.0005, 0.033) for _ in range(5)])
        pairs = [scores[a] - scores[b] for a in range(5) for b in range(a)]
        seed = pooled_seeds(pairs, 5)
        assert seed[1] == 8
        for pair in pairs:
            one, own = crossed_estimate(pair, seed=seed), crossed_estimate(pair)
            inside.append(one.low <= 0 <= one.high)
            widths.append(one.high - one.low)
            alone.append(own.high - own.low)
    assert 0.92 <= np.mean(inside) <= 0.98
    assert np.mean(widths) < 0.75 * np.mean(alone)


def test_detectable_difference_is_seen_with_its_power():
    rng = np.random.default_rng(3)
    pilots = [simulated(rng, 0, 0.0005, 0.066, (10, 400)) for _ in range(50)]
    true = np.mean([crossed_estimate(one).detectable() for one in pilots])
    draws = [simulated(rng, 0, 0.0005, 0.066, (10, 400)) + true for _ in range(400)]
    seen = np.mean([crossed_estimate(one).p_value <= 0.05 for one in draws])
    assert 0.7 <= seen <= 0.9


def test_covariance_has_the_variances_of_the_differences():
    rng = np.random.default_rng(4)
    scores = np.stack([simulated(rng, 0.1, 0.1, 0.1, (20, 60)) for _ in range(3)])
    covariance = covariance_of_means(scores)
    for a, b in ((0, 1), (1, 2)):
        variance = covariance[a, a] + covariance[b, b] - 2 * covariance[a, b]
        expected = crossed_estimate(scores[a] - scores[b]).standard_error ** 2
        assert variance == pytest.approx(expected, rel=0.15)
    one_seed = covariance_of_means(scores[:, :1])
    assert one_seed[0, 0] == pytest.approx(scores[0, 0].var(ddof=1) / 60)


def test_holm_on_the_published_steps():
    # sorted 0.01, 0.02, 0.03 times 3, 2, 1, never falling
    assert holm([0.02, 0.01, 0.03]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.6, 0.9]) == pytest.approx([1, 1])
    assert len(holm([])) == 0
