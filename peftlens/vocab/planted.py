"""Planted directions: the power of the null tests on a model's own vocabulary.

A direction with a known cosine to a common word stands for a displacement toward the word, or, of
a vector with unknown start, for the vector itself. The test of neighborhoods is applied to many of
them, for several cosines. The power at a cosine is the share found where the smallest majority of
a prompt's vectors points to words and the others to nowhere. A negative result has a meaning only
beside it (Cohen 1988, Statistical Power Analysis, chapter 1).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from peftlens.models.base_model import BaseModel
from peftlens.numerics.resampling import benjamini_hochberg
from peftlens.vocab.null_tests import LEVEL, Ids, NeighborhoodSpace, p_values
from peftlens.vocab.vocabulary import Vocabulary, vocabulary

COSINES = (0.2, 0.3, 0.4, 0.6, 0.8, 1.0)
SUFFICIENT = 0.8  # power
_COMMON = 5000  # as Lester et al. 2021, arXiv:2104.08691, section 3.2
_PLANTED = 60  # directions for each cosine: a standard error of 5 points at a power of 0.8
_PROMPTS = 200  # prompts composed of them


@dataclass(frozen=True)
class Power:
    """Power of the test of one vector.

    Attributes:
        at: power at each cosine to a common word.
    """

    at: Mapping[float, float]

    @property
    def detectable(self) -> float | None:
        """Least cosine from which on the power is at least 0.8; None if it never is."""
        least = None
        for cosine in sorted(self.at, reverse=True):
            if self.at[cosine] < SUFFICIENT:
                break
            least = cosine
        return least

    def __str__(self) -> str:
        if self.detectable is None:
            return f"not even a direction straight to a word is found with power {SUFFICIENT}"
        return (
            "a direction toward a word would have been seen from a cosine of "
            f"{self.detectable} on (power {SUFFICIENT})"
        )


def power(  # noqa: PLR0913  # the power depends on each
    base: BaseModel,
    name: str,
    space: NeighborhoodSpace,
    random_directions: Ids,
    n: int,
    *,
    known_start: bool,
) -> Power:
    """Compute the power of the test of displacements, or of vectors with unknown start.

    The test of displacements ignores where a vector started and how far it moved, so neither
    changes its power. The other test of a vector with known start, of its own neighborhood, finds
    nothing here: the result is a lower bound of the power of both.

    Args:
        base: base model, which caches the result.
        name: name of the vectors' space.
        space: space in which directions are read.
        random_directions: neighborhoods of random directions in this space, shape (1, B, 5).
        n: number of vectors of the prompt.
        known_start: whether each vector has two tests, or one.
    """

    def p_of_planted() -> NDArray[np.float64]:
        rng, words = np.random.default_rng(0), common_words(vocabulary(base))
        null = space.tightness(random_directions)
        ids = rng.choice(words, _PLANTED, replace=len(words) < _PLANTED)
        targets = space.table[torch.from_numpy(ids)] - space.origin
        around = [space.around(toward(targets, one, rng) + space.origin) for one in COSINES]
        return np.stack([p_values(space.tightness(ids), null) for ids in around])

    draws = random_directions.shape[1]
    key = (name, space.metric, draws)
    p = base.derived("planted directions", p_of_planted, key=key, most=4)
    found = shares_found(p, n, draws, known_start=known_start)
    return Power(dict(zip(COSINES, found.tolist(), strict=True)))


def common_words(vocab: Vocabulary) -> Ids:
    """Return the 5,000 commonest words, or all usable tokens where none is a word.

    Tokenizers number tokens from the most frequent to the rarest. A word has three or more letters,
    and begins a word where any token does: else it is part of a longer word.
    """
    texts = [vocab.tokens[token].strip("␣") for token in vocab.usable]
    words = np.array([text.isalpha() and len(text) > 2 for text in texts])
    if (begins := words & vocab.begins_word[vocab.usable]).any():
        words = begins
    return vocab.usable[words][:_COMMON] if words.any() else vocab.usable


def toward(targets: torch.Tensor, cosine: float, rng: np.random.Generator) -> torch.Tensor:
    """Draw unit vectors with a given cosine to their targets and else random, shape (k, d).

    Args:
        targets: vectors of any length but zero, shape (k, d).
        cosine: cosine to the targets.
        rng: source of the rest, which is orthogonal to the target.
    """
    unit = torch.nn.functional.normalize(targets)
    noise = torch.from_numpy(rng.standard_normal(targets.shape, dtype=np.float32)).to(unit.device)
    across = noise - (noise * unit).sum(dim=1, keepdim=True) * unit
    return cosine * unit + np.sqrt(1 - cosine**2) * torch.nn.functional.normalize(across)


def shares_found(
    p: NDArray[np.float64], n: int, draws: int, *, known_start: bool
) -> NDArray[np.float64]:
    """Compute the share of planted vectors found in prompts of n vectors, shape (doses,).

    Of each prompt n // 2 + 1 vectors are planted. The p-values of the others are uniform, and, if
    the start is known, the n other tests of the prompt's vectors find nothing (p = 1).

    Args:
        p: p-values of planted vectors, shape (doses, k).
        n: number of vectors of a prompt.
        draws: B, the number of draws of the null.
        known_start: whether each vector has two tests.
    """
    rng, planted = np.random.default_rng(0), n // 2 + 1
    chosen = rng.integers(p.shape[1], size=(planted, _PROMPTS))
    rest = rng.integers(1, draws + 2, size=(n - planted, _PROMPTS)) / (draws + 1)
    nothing = np.ones((n if known_start else 0, _PROMPTS))
    tests = [np.concatenate([one[chosen], rest, nothing]) for one in p]  # (tests, prompts) each
    return np.array([(benjamini_hochberg(one)[:planted] <= LEVEL).mean() for one in tests])
