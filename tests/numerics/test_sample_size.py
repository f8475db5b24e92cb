"""Power against closed forms and published values, and by simulation of planned studies."""

import numpy as np
import pytest
from scipy import stats

from peftlens.numerics.mixed_model import VarianceComponents, crossed_estimate, pooled_seeds
from peftlens.numerics.sample_size import (
    MarginTest,
    items_needed,
    power,
    seeds_needed,
    standard_error,
    trials_needed,
)

RANKS = VarianceComponents(seed=0.0, item=0.0005, residual=0.066)  # of LoRA ranks on headlines


@pytest.mark.parametrize("freedom", [2, 9, 60])
@pytest.mark.parametrize("effect", [0.0, 1.5, 4.0])
def test_one_margin_has_the_power_of_the_noncentral_t(freedom, effect):
    test = MarginTest(low=-1.0, effect=effect, alpha=0.025)
    expected = stats.nct.sf(stats.t.isf(0.025, freedom), freedom, (effect + 1) / 0.8)
    assert test.power(0.8, freedom) == pytest.approx(expected, abs=2e-3)
    below = MarginTest(high=1.0, effect=-effect, alpha=0.025)
    assert below.power(0.8, freedom) == pytest.approx(test.power(0.8, freedom))


def test_two_margins_have_the_published_power_of_bioequivalence_studies():
    """R package PowerTOST, sampleN.TOST(CV=0.3): 40 subjects in a crossover, power 0.815845."""
    test = MarginTest(low=np.log(0.8), high=np.log(1.25), effect=np.log(0.95), alpha=0.05)
    error = np.sqrt(np.log(1 + 0.3**2) * 2 / 40)
    assert test.power(error, 38) == pytest.approx(0.815845, abs=2e-4)


def test_without_noise_the_truth_decides():
    assert MarginTest(low=-1).power(0, 5) == 1
    assert MarginTest(low=-1, effect=-2).power(0, 5) == 0


def test_seeds_alone_have_students_t_of_as_many_less_one():
    """Of a variance of 0.04, with a margin of 0.2: a noncentrality of √n."""
    noise = VarianceComponents(seed=0.04)
    n = seeds_needed(noise, MarginTest(low=-0.2), n_items=1)
    powers = [stats.nct.sf(stats.t.isf(0.025, k - 1), k - 1, k**0.5) for k in (n - 1, n)]
    assert powers[0] < 0.8 <= powers[1]


def test_many_items_have_the_normal_formula():
    """(1.960 + 0.842)² σ² / δ² for a gain of 6 points, items of variance 0.14, seeds alike."""
    noise = VarianceComponents(seed=0.0, item=0.14)
    found = items_needed(noise, MarginTest(low=0, effect=0.06), n_seeds=1000)
    assert found == pytest.approx((1.959964 + 0.841621) ** 2 * 0.14 / 0.06**2, abs=5)  # 305


def test_five_larger_ranks_within_a_point_need_about_1200_items_at_ten_seeds():
    """Whether one of five has to be found at α / 5, or none may be missed at a power of 0.96."""
    one = items_needed(RANKS, MarginTest(low=-0.01, alpha=0.025 / 5), 10)
    every = items_needed(RANKS, MarginTest(low=-0.01), 10, least=0.96)
    assert (one, every) == (pytest.approx(1200, abs=25), pytest.approx(1200, abs=25))


def test_the_standard_error_is_that_of_the_mixed_model():
    values = np.random.default_rng(0).normal(size=(6, 40))
    values += np.random.default_rng(1).normal(size=(6, 1)) + np.linspace(-1, 1, 40)
    one = crossed_estimate(values)
    assert standard_error(one.components, 6, 40) == pytest.approx(
        (one.standard_error, one.degrees_of_freedom)
    )
    seeds = VarianceComponents(seed=0.3, residual=0.6)  # no items: Student's t over seeds
    assert standard_error(seeds, 5, 2) == pytest.approx((((0.3 + 0.3) / 5) ** 0.5, 4))


def test_more_of_one_kind_do_not_help_against_the_noise_of_the_other():
    assert seeds_needed(VarianceComponents(0, item=0.14), MarginTest(low=-0.02), 100) is None
    assert items_needed(VarianceComponents(0.01, 0.1), MarginTest(low=-0.02), 10) is None
    assert seeds_needed(VarianceComponents(0), MarginTest(low=-0.02), 100) == 2


@pytest.mark.parametrize("share", [0.75, 0.8, 0.9])
def test_trials_are_as_many_as_an_exact_test_needs(share):
    n = trials_needed(share)
    for trials in range(n, n + 40):
        successes = np.arange(trials + 1)
        p = stats.binom.sf(successes - 1, trials, 0.5)
        assert stats.binom.pmf(successes[p <= 0.025], trials, share).sum() >= 0.8
    p = stats.binom.sf(np.arange(n) - 1, n - 1, 0.5)
    assert stats.binom.pmf(np.arange(n)[p <= 0.025], n - 1, share).sum() < 0.8
    assert trials_needed(0.51) is None


def simulated(rng, noise, shape, true):
    seeds, items = shape
    return (
        true
        + rng.normal(0, noise.seed**0.5, (seeds, 1))
        + rng.normal(0, noise.item**0.5, (1, items))
        + rng.normal(0, noise.residual**0.5, shape)
    )


@pytest.mark.parametrize(
    ("noise", "test", "shape"),
    [
        (RANKS, MarginTest(low=-0.02), (10, None)),
        (RANKS, MarginTest(low=-0.02, high=0.02, alpha=0.05), (6, None)),
        (VarianceComponents(0.0001, 0.0005, 0.066), MarginTest(low=-0.02), (None, 419)),
        (VarianceComponents(0.0009, 0, 0.066), MarginTest(low=-0.05, high=0.05), (None, 300)),
        (VarianceComponents(0.0004, 0.14, 0.045), MarginTest(low=0, effect=0.06), (5, None)),
    ],
)
def test_a_planned_study_has_the_planned_power(noise, test, shape):
    """1,000 studies of the planned size: the power is met within 5 points."""
    seeds, items = shape
    seeds = seeds or seeds_needed(noise, test, items)
    items = items or items_needed(noise, test, seeds)
    planned = power(noise, test, seeds, items)
    assert planned >= 0.8
    rng, found = np.random.default_rng(0), 0
    for _ in range(1000):
        one = crossed_estimate(simulated(rng, noise, (seeds, items), test.effect))
        above = 0.0 if test.low is None else one.p_above(test.low)
        below = 0.0 if test.high is None else one.p_below(test.high)
        found += max(above, below) <= test.alpha
    assert found / 1000 == pytest.approx(planned, abs=0.05)


def test_pooled_seeds_need_fewer():
    """Ten pairs of five configurations alike share the noise of seeds: four contrasts."""
    rng = np.random.default_rng(2)
    noise = VarianceComponents(0.0002, 0.0005, 0.033)
    scores = [simulated(rng, noise, (3, 300), 0) for _ in range(5)]
    pairs = [scores[a] - scores[b] for a in range(5) for b in range(a)]
    shared, own = (
        crossed_estimate(pairs[0], seed=pooled_seeds(pairs, 5)),
        crossed_estimate(pairs[0]),
    )
    assert (shared.components.contrasts, own.components.contrasts) == (4, 1)
    test = MarginTest(low=-0.02)
    alone = VarianceComponents(0.0004, 0.001, 0.066)
    alike = VarianceComponents(0.0004, 0.001, 0.066, contrasts=4)
    assert seeds_needed(alike, test, 300) < seeds_needed(alone, test, 300)
