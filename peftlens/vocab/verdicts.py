"""Verdicts on trained vectors, from the p-values of their null tests."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from peftlens.numerics.resampling import benjamini_hochberg
from peftlens.vocab.null_tests import LEVEL

Verdict = Literal[
    "readable",
    "displacement readable",
    "start kept",
    "not distinguishable from noise",
    "tight, start unknown",
]
NOISE: Verdict = "not distinguishable from noise"


def verdicts(
    p_random: NDArray,
    p_steps: NDArray | None = None,
    p_displacement: NDArray | None = None,
    kept: NDArray | None = None,
) -> tuple[list[Verdict], NDArray[np.float64]]:
    """Decide the verdict on each vector, controlling the false-discovery rate over all vectors.

    readable: the nearest family is not the start's, the neighborhood is tight (p against random
    directions at most 5 %), and it gains more than after random steps, which is the test.
    displacement readable: the displacement's neighborhood is tighter than random directions'.
    start kept: neither, and the nearest family is the start's. Both tests of all n vectors are one
    family of 2n.

    Args:
        p_random: p-values against random directions, shape (n,).
        p_steps: p-values of the gain against random steps, shape (n,); None without a start.
        p_displacement: p-values of the displacement, shape (n,); NaN for a vector that has not
            moved; None without a start.
        kept: whether the nearest family is the start's, shape (n,); None without a start.

    Returns:
        The verdicts, and the smaller q-value of each vector's two tests, shape (n,).
    """
    if p_steps is None or p_displacement is None or kept is None:
        q = benjamini_hochberg(p_random)
        return ["tight, start unknown" if one <= LEVEL else NOISE for one in q], q
    own = np.where((p_random <= LEVEL) & ~kept, p_steps, 1.0)
    # no displacement, no discovery
    both = np.stack([own, np.nan_to_num(p_displacement, nan=1.0)])  # (2, n)
    q = benjamini_hochberg(both.ravel()).reshape(both.shape)
    return [_verdict(*one) for one in zip(*(q <= LEVEL), kept, strict=True)], q.min(axis=0)


def _verdict(readable: bool, displacement_readable: bool, kept: bool) -> Verdict:
    if readable:
        return "readable"
    if displacement_readable:
        return "displacement readable"
    return "start kept" if kept else NOISE


def majority(words: Sequence[Verdict], q: NDArray) -> tuple[Verdict, float]:
    """Decide the verdict on a prompt: what more than half of its vectors are.

    Vectors of one prompt are trained by the same gradients, so a test of their mean that takes them
    as independent would reject too often. If the whole prompt is noise, the chance that most of its
    vectors are found is at most that of finding any, which the false-discovery rate limits.

    Args:
        words: verdicts on the vectors, of length n.
        q: their q-values, shape (n,).

    Returns:
        readable or tight if most vectors are; displacement readable if most are that or readable;
        else the more frequent one of start kept and noise. And the smallest level at which most
        vectors are found.
    """
    counts, half = Counter(words), len(words) / 2
    word: Verdict = "start kept" if counts["start kept"] > counts[NOISE] else NOISE
    if counts["tight, start unknown"] > half:
        word = "tight, start unknown"
    elif counts["readable"] > half:
        word = "readable"
    elif counts["readable"] + counts["displacement readable"] > half:
        word = "displacement readable"
    return word, float(np.sort(q)[len(q) // 2])
