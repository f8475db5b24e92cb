"""Sample size: numbers of seeds and items with which a test against margins has a given power.

The variance components of a pilot give the standard error that a study of other numbers of seeds
and items will have, and its degrees of freedom. The estimated standard error varies from study to
study, as a chi distribution of these degrees has it, so the power is the mean over its quantiles of
the probability that the estimate lies beyond the margins by t standard errors. For one margin this
is the noncentral t distribution, for two the power of two one-sided tests.

Sources: Julious 2004, Statistics in Medicine 23, 1921-1986; Phillips 1990, Journal of
Pharmacokinetics and Biopharmaceutics 18, 137-144, for two one-sided tests.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, chi2, norm, t

from peftlens.numerics.mixed_model import POWER, VarianceComponents

_QUANTILES = (np.arange(400) + 0.5) / 400  # of the estimated standard error
_MOST = 2**24  # largest number of seeds or items that is considered
_MOST_TRIALS = 2000


@dataclass(frozen=True, kw_only=True)
class MarginTest:
    """Test that a mean lies above one margin, below one, or between two.

    Attributes:
        low: margin that the mean must exceed; None without one.
        high: margin that the mean must stay below; None without one.
        effect: true mean at which the power is computed.
        alpha: level of each one-sided test.
    """

    low: float | None = None
    high: float | None = None
    effect: float = 0.0
    alpha: float = 0.025

    def power(self, error: float, freedom: float) -> float:
        """Return the probability that the test succeeds.

        Args:
            error: standard error of the mean.
            freedom: degrees of freedom of its estimate.
        """
        low = -np.inf if self.low is None else self.low - self.effect
        high = np.inf if self.high is None else self.high - self.effect
        if error == 0:
            return float(low < 0 < high)
        estimated = np.sqrt(chi2.ppf(_QUANTILES, freedom) / freedom)  # in standard errors
        reach = t.isf(self.alpha, freedom) * estimated
        inside = norm.cdf(high / error - reach) - norm.cdf(low / error + reach)
        return float(inside.clip(min=0).mean())


def standard_error(
    components: VarianceComponents, n_seeds: int, n_items: int
) -> tuple[float, float]:
    """Return the standard error of a study's mean, and its expected degrees of freedom.

    Args:
        components: variance components of one score.
        n_seeds: number of seeds, at least 2.
        n_items: number of items; with a variance of items at least 2.
    """
    one = components
    variance = one.seed / n_seeds + one.item / n_items + one.residual / (n_seeds * n_items)
    seed = n_items * one.seed + one.residual  # expected mean square
    seed_freedom, item_freedom = one.contrasts * (n_seeds - 1), n_items - 1
    if not one.item:
        return float(np.sqrt(variance)), seed_freedom
    item = n_seeds * one.item + one.residual
    uncertainty = seed**2 / seed_freedom + item**2 / item_freedom
    uncertainty += one.residual**2 / (seed_freedom * item_freedom)
    freedom = (seed + n_seeds * one.item) ** 2 / uncertainty  # Satterthwaite
    return float(np.sqrt(variance)), float(max(freedom, min(seed_freedom, item_freedom)))


def power(components: VarianceComponents, test: MarginTest, n_seeds: int, n_items: int) -> float:
    """Return the power of a test in a study of these numbers of seeds and items."""
    return test.power(*standard_error(components, n_seeds, n_items))


def seeds_needed(
    components: VarianceComponents, test: MarginTest, n_items: int, least: float = POWER
) -> int | None:
    """Return the smallest number of seeds with this power; None if more seeds never suffice.

    Args:
        components: variance components of one score.
        test: the test, with the true mean at which power is meant.
        n_items: number of items.
        least: power to reach.
    """
    return _smallest(lambda n: power(components, test, n, n_items) >= least)


def items_needed(
    components: VarianceComponents, test: MarginTest, n_seeds: int, least: float = POWER
) -> int | None:
    """Return the smallest number of items with this power; None if more items never suffice.

    Args:
        components: variance components of one score.
        test: the test, with the true mean at which power is meant.
        n_seeds: number of seeds, at least 2.
        least: power to reach.
    """
    return _smallest(lambda n: power(components, test, n_seeds, n) >= least)


def trials_needed(share: float, alpha: float = 0.025, least: float = POWER) -> int | None:
    """Return the number of trials from which on an exact test of one half has this power.

    The power of a binomial test rises in saw teeth; from this number on it never falls below.

    Args:
        share: true share of successes, above one half.
        alpha: one-sided level.
        least: power to reach.
    """
    n = np.arange(1, _MOST_TRIALS + 1)
    needed = binom.isf(alpha, n, 0.5) + 1  # successes of which fewer are not significant
    weak = np.flatnonzero(binom.sf(needed - 1, n, share) < least)
    found = 1 if not len(weak) else int(n[weak[-1]]) + 1
    return found if found < _MOST_TRIALS else None


def _smallest(suffices: Callable[[int], bool]) -> int | None:
    """Return the smallest number of at least 2 that suffices, if all larger ones do as well."""
    high = 2
    while not suffices(high):
        high *= 2
        if high > _MOST:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return max(high, 2)
