"""Null tests: whether a vector's nearest tokens form a tighter cluster than chance would give.

A neighborhood consists of lexical families, because five spellings of one word are not a cluster.
Its tightness is the mean cosine between the families' nearest members, in the space of the search
and in the middle of the model, which is another space. Real tokens always have tight neighborhoods,
so tightness alone is not evidence of training: it must exceed that of random directions, and, when
only words not already near the start count, that of random steps of the same length from the start.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from peftlens.models.base_model import BaseModel
from peftlens.numerics.resampling import benjamini_hochberg, p_value
from peftlens.runs.trained_model import TrainedModel
from peftlens.vocab.nearest_neighbors import Metric, nearest, nearest_to_steps
from peftlens.vocab.trained_vectors import TrainedVectors, other_starts, trained_vectors
from peftlens.vocab.vocabulary import Vocabulary, states, vocabulary

FAMILIES = 5  # as Lester et al. 2021, arXiv:2104.08691, section 7, who use five neighbors
SHORTLIST = 64  # nearest tokens from which five families are selected
DRAWS = 1000
LEVEL = 0.05  # false-discovery rate

Verdict = Literal[
    "readable",
    "unchanged from initialization",
    "not distinguishable from noise",
    "tight, start unknown",
]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class NeighborhoodSpace:
    """Vector spaces in which neighborhoods are searched and their tightness is measured.

    Attributes:
        usable: ids of the usable tokens, shape (U,).
        family: lexical family of every id, shape (V,).
        rows: unit vectors of the tokens relative to `origin`, shape (V, d).
        states: unit vectors of the tokens in the middle of the model, shape (V, D).
        origin: vector subtracted from tokens and queries, shape (d,); zero unless the metric is
            centered.
        table: unchanged vectors of the tokens, shape (V, d).
        metric: metric of the search.
        density: mean cosine of each token to its ten nearest, shape (V,), for csls.
    """

    usable: Ids
    family: Ids
    rows: NDArray[np.float32]
    states: NDArray[np.float32]
    origin: torch.Tensor
    table: torch.Tensor
    metric: Metric = "cosine"
    density: torch.Tensor | None = None

    @classmethod
    def of(
        cls,
        table: torch.Tensor,
        vocab: Vocabulary,
        hidden: NDArray[np.float32],
        metric: Metric = "cosine",
        density: torch.Tensor | None = None,
    ) -> "NeighborhoodSpace":
        """Build the space of a metric from a table of the vocabulary's vectors."""
        origin = table.mean(dim=0) if metric == "centered" else torch.zeros_like(table[0])
        rows = (table - origin).cpu().numpy()
        return cls(vocab.usable, vocab.family, _unit(rows), _unit(hidden), origin, table,
                   metric, density)  # fmt: skip

    def families(self, shortlists: Ids) -> Ids:
        """Select the nearest member of each of the five nearest families.

        Args:
            shortlists: indices into the usable tokens, nearest first, shape (..., m).

        Returns:
            Token ids, shape (..., 5); −1 where the shortlist has fewer families.
        """
        ids = self.usable[shortlists]
        family = self.family[ids]
        repeated = np.zeros(family.shape, bool)
        for place in range(1, family.shape[-1]):
            repeated[..., place] = (family[..., :place] == family[..., place : place + 1]).any(-1)
        first = np.argsort(repeated, axis=-1, kind="stable")[..., :FAMILIES]
        chosen = np.take_along_axis(ids, first, axis=-1)
        return np.where(np.take_along_axis(repeated, first, axis=-1), -1, chosen)

    def around(self, queries: torch.Tensor) -> Ids:
        """Find the five nearest families of each query among the usable tokens, shape (q, 5)."""
        usable = torch.from_numpy(self.usable)
        near = None if self.density is None else self.density[usable]
        length = min(SHORTLIST, len(usable))
        return self.families(
            nearest(queries, self.table[usable], length, self.metric, density=near).ids
        )

    def around_steps(
        self, centers: torch.Tensor, lengths: torch.Tensor, directions: torch.Tensor
    ) -> Ids:
        """Find the five nearest families of center + length · direction, shape (n, B, 5)."""
        rows = self.table[torch.from_numpy(self.usable)] - self.origin
        length = min(SHORTLIST, len(rows))
        shortlists = nearest_to_steps(centers - self.origin, lengths, directions, rows, length)
        return self.families(shortlists)

    def tightness(self, neighborhoods: Ids) -> NDArray[np.float64]:
        """Compute the mean pairwise cosine in `rows` and in `states`, shape (2, ...).

        NaN for fewer than two families.
        """
        return np.stack([_pairwise(neighborhoods, self.rows),
                         _pairwise(neighborhoods, self.states)])  # fmt: skip

    def new_words(self, neighborhoods: Ids, start: Ids) -> NDArray[np.float64]:
        """Compute the share of a neighborhood's families absent from the start's neighborhood.

        Args:
            neighborhoods: shape (n, 5), or (n, B, 5).
            start: shape (n, 5).

        Returns:
            Shape (n,), or (n, B).
        """
        start_families = np.where(start >= 0, self.family[start], -1)
        start_families = start_families.reshape(len(start), *[1] * (neighborhoods.ndim - 2), 1, -1)
        old = (self.family[neighborhoods][..., None] == start_families).any(axis=-1)
        there = neighborhoods >= 0
        return (there & ~old).sum(axis=-1) / there.sum(axis=-1)

    def gained(self, neighborhoods: Ids, start: Ids) -> NDArray[np.float64]:
        """Compute tightness times the share of new words, shape (2, n) or (2, n, B).

        A step that stays within the start's neighborhood gains nothing, however tight that is.
        """
        return self.tightness(neighborhoods) * self.new_words(neighborhoods, start)


def _unit(rows: NDArray) -> NDArray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)


def _pairwise(neighborhoods: Ids, rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Compute the mean cosine of all pairs from the squared norm of their sum."""
    flat = neighborhoods.reshape(-1, neighborhoods.shape[-1])
    cosines = np.empty(len(flat))
    for start in range(0, len(flat), 4096):
        ids = flat[start : start + 4096]
        there = ids >= 0
        members = rows[ids] * there[..., None]
        n = there.sum(axis=1)
        pairs = (n * (n - 1)).astype(np.float32)
        lengths = np.square(members).sum(axis=(1, 2))
        total = np.square(members.sum(axis=1)).sum(axis=1) - lengths
        cosines[start : start + 4096] = total / np.where(pairs > 0, pairs, np.nan)
    return cosines.reshape(neighborhoods.shape[:-1])


@dataclass(frozen=True)
class NeighborhoodSample:
    """The five nearest families of trained vectors, and of draws from the null distributions.

    Attributes:
        now: families of the trained vectors, token ids, shape (n, 5).
        start: families of the initial vectors, shape (n, 5); None if the start is unknown.
        nulls: families of B draws, shape (n, B, 5), or (1, B, 5) where all vectors share the draws.
            random_tokens: five random tokens; random_directions: a vector of the same length in a
            random direction; steps: the start plus a random step of the trained length; untrained:
            vectors initialized with other seeds; real_tokens: tokens of the vocabulary.
    """

    now: Ids
    start: Ids | None
    nulls: dict[str, Ids]


def neighborhoods(  # noqa: PLR0913  # the draws depend on each
    run: TrainedModel, base: BaseModel, step: int, metric: Metric, draws: int = DRAWS, seed: int = 0
) -> tuple[NeighborhoodSpace, NeighborhoodSample]:
    """Compute the neighborhoods of a run's vectors and of every null, B draws each.

    Args:
        run: run whose method exposes `token_vectors`.
        base: base model of the run.
        step: a saved step of the run.
        metric: metric of the search, cosine or centered.
        draws: B, the number of draws.
        seed: random seed of the draws.
    """

    def sample() -> tuple[NeighborhoodSpace, NeighborhoodSample]:
        vectors = trained_vectors(run, base, step)
        space = _space(vectors, base, metric)
        others = other_starts(run, base, draws)
        return space, sample_nulls(vectors, space, draws, np.random.default_rng(seed), others)

    # several probes need the neighborhoods of one run
    return base.derived("neighborhoods", sample, key=(run, step, metric, draws, seed), most=8)


def _space(vectors: TrainedVectors, base: BaseModel, metric: Metric) -> NeighborhoodSpace:
    """Return the space of vectors; shared by the steps of all runs that train embeddings."""
    return base.derived(
        "neighborhood space",
        lambda: NeighborhoodSpace.of(vectors.table, vocabulary(base), states(base), metric),
        key=(vectors.space, metric),
        most=2,  # one for each metric
    )


def sample_nulls(
    vectors: TrainedVectors,
    space: NeighborhoodSpace,
    draws: int,
    rng: np.random.Generator,
    others: torch.Tensor | None = None,
) -> NeighborhoodSample:
    """Compute the neighborhoods of vectors and of the nulls; see `NeighborhoodSample`.

    Args:
        vectors: trained vectors, with their start if known.
        space: space of the vectors; its metric is cosine or centered.
        draws: B, the number of draws.
        rng: source of the draws.
        others: vectors initialized with other seeds, shape (B, d).
    """
    now, width = vectors.now, vectors.now.shape[1]
    noise = torch.from_numpy(rng.standard_normal((draws, width), dtype=np.float32)).to(now.device)
    directions = noise / noise.norm(dim=1, keepdim=True)
    tokens = torch.from_numpy(rng.choice(space.usable, draws))
    lengths = now.norm(dim=1)
    if space.metric == "cosine":  # the length of a vector does not change its neighbors
        lengths = lengths[:1]
    nulls = {
        "random_tokens": rng.choice(space.usable, (1, draws, FAMILIES)),
        "random_directions": space.around_steps(
            torch.zeros(len(lengths), width, device=now.device), lengths, directions
        ),
        "real_tokens": space.around(space.table[tokens])[None],
    }
    if vectors.start is not None:
        displacement = (now - vectors.start).norm(dim=1)
        nulls["steps"] = space.around_steps(vectors.start, displacement, directions)
    if others is not None:
        nulls["untrained"] = space.around(others)[None]
    start = None if vectors.start is None else space.around(vectors.start)
    return NeighborhoodSample(space.around(now), start, nulls)


def p_values(observed: NDArray, null: NDArray) -> NDArray[np.float64]:
    """Return one p-value per vector: the larger one of the two spaces.

    Both spaces must agree, so the larger p-value is valid for their conjunction (Berger 1982,
    Technometrics 24, 295-300).

    Args:
        observed: shape (2, n).
        null: shape (2, n, B), or (2, 1, B).
    """
    n = observed.shape[1]
    whole = np.broadcast_to(null, (2, n, null.shape[2]))
    each = [[p_value(observed[s, i], whole[s, i]) for i in range(n)] for s in range(2)]
    return np.array(each).max(axis=0)


def verdicts(
    p_random: NDArray, p_steps: NDArray | None, unchanged: NDArray | None
) -> tuple[list[Verdict], NDArray[np.float64]]:
    """Decide the verdict on each vector, controlling the false-discovery rate over all vectors.

    readable: tighter than random directions, with a larger gain (tightness times share of new
    words) than random steps from the start, and the nearest family is not the start's. unchanged
    from initialization: the nearest family is the start's, or the neighborhood is tight but not
    more than after a random step.

    Args:
        p_random: p-values against random directions, shape (n,).
        p_steps: p-values of the gain against random steps, shape (n,); None without a start.
        unchanged: whether the nearest family is the start's, shape (n,).

    Returns:
        The verdicts, and the q-values for readable, shape (n,).
    """
    tight = benjamini_hochberg(p_random) <= LEVEL
    if p_steps is None or unchanged is None:
        words: list[Verdict] = [
            "tight, start unknown" if one else "not distinguishable from noise" for one in tight
        ]
        return words, benjamini_hochberg(p_random)
    q = benjamini_hochberg(np.maximum(p_random, p_steps))
    return [_verdict(*one) for one in zip(q <= LEVEL, tight, unchanged, strict=True)], q


def _verdict(readable: bool, tight: bool, unchanged: bool) -> Verdict:
    if unchanged:
        return "unchanged from initialization"
    if readable:
        return "readable"
    return "unchanged from initialization" if tight else "not distinguishable from noise"


def prompt_means(null: NDArray, n: int, rng: np.random.Generator) -> NDArray:
    """Compute null means over n vectors, shape (2, 1, B), with draws permuted between vectors.

    Vectors share their draws, and a mean over the same draw would vary too much.
    """
    whole = np.broadcast_to(null, (2, n, null.shape[2]))
    mixed = [whole[:, i, rng.permutation(null.shape[2])] for i in range(n)]
    return np.nanmean(mixed, axis=0)[:, None]
