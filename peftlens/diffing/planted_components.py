"""Planted components: activations of which a known share of the energy sits on one token of a text.

A component that is no sparser than random directions may yet fire on one word, as far as the test
misses such components. The share of planted ones that it finds is its power.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from peftlens.diffing.projections import Float, hoyer, standardized_p

SHARES = (0.1, 0.2, 0.4)  # of the energy Σ s² on the token
LEVEL = 0.01
_PLANTED = 4  # components in each module


def planted(random: ArrayLike, ids: ArrayLike, share: float, rng: np.random.Generator) -> Float:
    """Let activations fire on one token each, drawn from the distinct ones of the text.

    Args:
        random: activations of k random directions on n tokens, shape (n, k).
        ids: the tokens, shape (n,).
        share: share of Σ s² that falls on the occurrences of the drawn token, in equal parts.
        rng: source of the draws.

    Returns:
        Activations with Σ s² = 1, shape (n, k).
    """
    tokens = np.asarray(ids)
    there = tokens[:, None] == rng.choice(np.unique(tokens), np.shape(random)[1])  # (n, k)
    elsewhere = np.where(there, 0.0, np.asarray(random, float))
    elsewhere /= np.maximum(np.linalg.norm(elsewhere, axis=0), 1e-300)
    return np.sqrt(1 - share) * elsewhere + np.sqrt(share / there.sum(axis=0)) * there


def sparseness_power(
    random: Sequence[NDArray[np.float32]], ids: ArrayLike, rng: np.random.Generator
) -> dict[float, float]:
    """Return the share of planted components that are sparser than random directions, p <= 0.01.

    Args:
        random: for each module, activations of random directions, shape (n, k).
        ids: the tokens, shape (n,).
        rng: source of the draws.

    Returns:
        Share found by the share of Σ s² on one token.
    """
    null = [hoyer(one) for one in random]
    found = {}
    for share in SHARES:
        own = [hoyer(planted(one[:, :_PLANTED], ids, share, rng)) for one in random]
        statistics = [np.concatenate(pair) for pair in zip(own, null, strict=True)]
        p = standardized_p(statistics, [len(one) for one in own])
        found[share] = float((p <= LEVEL).mean())
    return found
