"""Seeded resampling statistics on NumPy arrays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import bootstrap

LEVEL = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A confidence interval; `low` and `high` are None where the data can't give one."""

    low: float | None
    high: float | None


def mean_interval(values: ArrayLike, rng: np.random.Generator) -> Interval:
    """95 % interval of a mean over what the values sample: items, or seeds.

    Percentile bootstrap, 2,000 resamples (Efron & Tibshirani 1993, chapter 13). With fewer than two
    values there is none. If all values are equal it has no width, which says nothing of how few
    they are: always show n beside it.

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
    if len(top) < 2:
        return Interval(None, None)
    found = bootstrap(
        (top, bottom),
        lambda t, b, axis: t.sum(axis=axis) / b.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        rng=rng,
        batch=200,
    ).confidence_interval
    return Interval(float(found.low), float(found.high))
