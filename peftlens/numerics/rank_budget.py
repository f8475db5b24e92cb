"""Rank budgets: how many singular values of each of several updates are kept."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def rounding_floor(weight: ArrayLike, change: ArrayLike) -> float:
    """Bound the singular values that rounding of W + ΔW to float32 adds to ΔW.

    Rounding errors of m x n entries are independent, at most half a unit in the last place each, so
    that their spectral norm is about (√m + √n) times their root mean square (Davidson & Szarek
    2001, theorem II.13). A whole unit of the root mean square of W and ΔW is four times that.

    Args:
        weight: W, shape (m, n).
        change: ΔW, shape (m, n).
    """
    rows, columns = np.shape(change)
    size = np.linalg.norm(weight) + np.linalg.norm(change)
    root_mean_square = size / np.sqrt(rows * columns)
    return float(np.finfo(np.float32).eps * root_mean_square * (np.sqrt(rows) + np.sqrt(columns)))


def allocate_ranks(
    values: Sequence[NDArray[np.floating]], costs: Sequence[int], budget: int
) -> list[int]:
    """Share a number of parameters among matrices: the most energy for each parameter first.

    A matrix's singular values fall, so those that are chosen are its largest.

    Args:
        values: singular values of each matrix, largest first, shape (r_i,) each.
        costs: number of parameters of one rank of each matrix, m + n.
        budget: largest number of parameters of all.

    Returns:
        Rank of each matrix, possibly 0.
    """
    owner = np.repeat(np.arange(len(values)), [len(one) for one in values])
    cost = np.asarray(costs)[owner]
    order = np.argsort(-(np.concatenate(values) ** 2) / cost, kind="stable")
    affordable = owner[order][np.cumsum(cost[order]) <= budget]
    return np.bincount(affordable, minlength=len(values)).tolist()
