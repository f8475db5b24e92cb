"""Area under the ROC curve of a score that tells two groups apart, with its interval."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata

from peftlens.numerics.resampling import LEVEL, Interval


@dataclass(frozen=True)
class Auc:
    """Probability that a score of one group exceeds one of the other; ties count half.

    Attributes:
        value: between 0 and 1; 0.5 if the score says nothing.
        interval: 95 % interval over the members of both groups.
    """

    value: float
    interval: Interval


def auc(ones: ArrayLike, others: ArrayLike) -> Auc:
    """Compute the area and its interval by DeLong's variance, clipped to 0 and 1.

    Without an interval for fewer than two members of a group.

    Args:
        ones: scores of the group that should have the higher ones, shape (m,).
        others: scores of the other group, shape (n,).

    Source: DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44, 837-845, by the ranks of Sun & Xu
    2014, IEEE Signal Processing Letters 21, 1389-1393.
    """
    x, y = np.asarray(ones, float), np.asarray(others, float)
    m, n = len(x), len(y)
    ranks = rankdata(np.concatenate([x, y]))  # (m + n,)
    of_ones: NDArray = (ranks[:m] - rankdata(x)) / n  # share of the others below each one
    of_others: NDArray = 1 - (ranks[m:] - rankdata(y)) / m  # share of the ones above each other
    value = float(of_ones.mean())
    if min(m, n) < 2:
        return Auc(value, Interval(None, None))
    half = norm.ppf((1 + LEVEL) / 2) * np.sqrt(of_ones.var(ddof=1) / m + of_others.var(ddof=1) / n)
    low, high = np.clip([value - half, value + half], 0, 1)
    return Auc(value, Interval(float(low), float(high)))
