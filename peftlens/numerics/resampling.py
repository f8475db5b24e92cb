"""Resampling statistics: bootstrap intervals, p-values and false discovery rate; all seeded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest, bootstrap, false_discovery_control, t, trim_mean

LEVEL = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A confidence interval; `low` and `high` are None where the data can't give one."""

    low: float | None
    high: float | None


def mean_interval(values: ArrayLike, rng: np.random.Generator) -> Interval:
    """95 % bootstrap interval of a mean over items or seeds.

    Percentile bootstrap, 2,000 resamples (Efron & Tibshirani 1993, chapter 13). With fewer than two
    values there is none. If all values are equal it has no width, however few they are: always
    show n with it.

    Args:
        values: shape (n,), one per item or seed.
        rng: source of the resamples.
    """
    return ratio_interval(values, np.ones(np.shape(values)), rng)


def ratio_interval(
    numerators: ArrayLike, denominators: ArrayLike, rng: np.random.Generator
) -> Interval:
    """95 % interval of sum(numerators) / sum(denominators), resampled in pairs.

    For a loss per token over texts of different length the numerator is a text's loss, and the
    denominator its number of tokens. Percentile bootstrap, as in `mean_interval`.

    Args:
        numerators: shape (n,).
        denominators: shape (n,), positive.
        rng: source of the resamples.
    """
    top, bottom = np.asarray(numerators, float), np.asarray(denominators, float)
    return paired_interval(
        (top, bottom), lambda t, b, axis: t.sum(axis=axis) / b.sum(axis=axis), rng
    )


def paired_interval(
    samples: Sequence[NDArray[np.floating]],
    statistic: Callable[..., ArrayLike],
    rng: np.random.Generator,
) -> Interval:
    """95 % interval of a statistic of several values per item, whose items are resampled.

    Percentile bootstrap, as in `mean_interval`; with fewer than two items there is none.

    Args:
        samples: arrays of shape (n,), one for each argument of the statistic.
        statistic: function of as many arrays of shape (..., n) and their `axis`.
        rng: source of the resamples.
    """
    if len(samples[0]) < 2:
        return Interval(None, None)
    bounds = bootstrap(
        tuple(samples),
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        rng=rng,
        batch=200,
    ).confidence_interval
    return Interval(float(bounds.low), float(bounds.high))


def few_interval(values: ArrayLike, within: tuple[float, float] = (-np.inf, np.inf)) -> Interval:
    """95 % interval of the mean of a few values, such as seeds: Student's t.

    A bootstrap of three values is far too narrow: it never reaches beyond the largest. With fewer
    than two values there is no interval.

    Args:
        values: shape (n,).
        within: smallest and largest possible mean, such as 0 and 1 for a share; the interval is
            clipped to them.

    Source: Student 1908, Biometrika 6, 1-25.
    """
    array = np.asarray(values, float)
    n = len(array)
    if n < 2:
        return Interval(None, None)
    half = t.ppf((1 + LEVEL) / 2, n - 1) * array.std(ddof=1) / np.sqrt(n)
    low, high = np.clip([array.mean() - half, array.mean() + half], *within)
    return Interval(float(low), float(high))


def share_interval(count: int, n: int) -> Interval:
    """95 % score interval of a share of n independent items.

    Args:
        count: number of items that count, such as right answers.
        n: number of items; without any there is no interval.

    Source: Wilson 1927, J. Am. Stat. Assoc. 22(158); Brown, Cai & DasGupta 2001, Stat. Sci. 16(2).
    """
    if not n:
        return Interval(None, None)
    found = binomtest(count, n).proportion_ci(LEVEL, method="wilson")
    return Interval(float(found.low), float(found.high))


def interquartile_mean(values: ArrayLike) -> float:
    """Mean of the middle half of the values, which no single run decides.

    Args:
        values: shape (n,).

    Source: Agarwal et al. 2021, arXiv:2108.13264, section 4.3, by scipy.
    """
    return float(trim_mean(np.asarray(values, float), 0.25))


def p_value(observed: float, null: ArrayLike) -> float:
    """One-sided p of a Monte Carlo test: (1 + #{null >= observed}) / (1 + B), never 0.

    A missing value counts against the finding, on either side.

    Args:
        observed: the statistic; larger is more extreme.
        null: the statistic of B draws from the null, shape (B,).

    Source: Davison & Hinkley 1997, section 4.2.
    """
    values = np.asarray(null, float)
    return float((1 + (~(values < observed)).sum()) / (1 + len(values)))


def benjamini_hochberg(p: ArrayLike) -> NDArray[np.float64]:
    """Benjamini-Hochberg q-values: rejecting q <= 0.05 keeps the false discovery rate at 5 %.

    Args:
        p: p-values of one family of tests, shape (n,).

    Source: Benjamini & Hochberg 1995, JRSS B 57, 289-300.
    """
    return false_discovery_control(np.asarray(p, float), method="bh")


def log_odds(counts: ArrayLike, background: ArrayLike) -> NDArray[np.float64]:
    """Log-odds ratio of each word between two texts, as a z-score; 0 for equal shares.

    With an informative Dirichlet prior: both texts together, weighted as much as the first.

    Args:
        counts: number of occurrences of each word in the one text, shape (w,).
        background: number of occurrences of the same words in the other, shape (w,).

    Source: Monroe, Colaresi & Quinn 2008, Political Analysis 16, equations 16, 20 and 22.
    """
    one, other = np.asarray(counts, float), np.asarray(background, float)
    prior = (one + other) * one.sum() / (one.sum() + other.sum())
    a, b = one + prior, other + prior
    difference = np.log(a / (a.sum() - a)) - np.log(b / (b.sum() - b))
    return difference / np.sqrt(1 / a + 1 / b)
