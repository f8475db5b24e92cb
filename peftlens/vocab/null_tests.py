"""Null tests: whether a vector's nearest tokens form a tighter cluster than chance would give.

A neighborhood consists of lexical families, because five spellings of one word are not a cluster.
Its tightness is the mean cosine between the families' nearest members, in the space of the search
and in the middle of the model, which is another space; a test uses the mean of the two, each
standardized by its null. Real tokens always have tight neighborhoods, so tightness alone is not
evidence of training. Two questions are, with one null each: do the vector's nearest words gain
more than after random steps of the same length from the start, and are the nearest words of its
displacement closer together than those of random directions?
"""

from dataclasses import dataclass
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray

from peftlens.models.base_model import BaseModel
from peftlens.numerics.resampling import p_value
from peftlens.results.table import NotApplicable
from peftlens.runs.trained_model import TrainedModel
from peftlens.vocab.nearest_neighbors import Metric, nearest, nearest_to_steps
from peftlens.vocab.trained_vectors import TrainedVectors, other_starts, trained_vectors
from peftlens.vocab.vocabulary import Vocabulary, kept, states, vocabulary

FAMILIES = 5  # as Lester et al. 2021, arXiv:2104.08691, section 7, who use five neighbors
SHORTLIST = 64  # nearest tokens from which five families are selected
DRAWS = 1000
# Random directions are shared by all vectors and runs on a base. With a thousand of them, what is
# beyond all draws has a true probability of anything between 0.0003 and 0.007, and no run averages
# that out: in 12 % of prompts of noise something was found.
DIRECTIONS = 20  # random directions per draw of the other nulls
LEVEL = 0.05  # false-discovery rate

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

    def around(self, queries: torch.Tensor, shortlist: int = SHORTLIST) -> Ids:
        """Find the five nearest families of each query among the usable tokens, shape (q, 5).

        A shortlist within one family, such as white space of many lengths, has no pair of words:
        it is extended until there are two.
        """
        usable = torch.from_numpy(self.usable)
        near = None if self.density is None else self.density[usable]
        rows, length = self.table[usable] - self.origin, min(shortlist, len(usable))
        metric = "cosine" if self.metric == "centered" else self.metric
        found = self.families(
            nearest(queries - self.origin, rows, length, metric, density=near).ids
        )
        single = (found >= 0).sum(axis=1) < 2
        if single.any() and length < len(usable):
            found[single] = self.around(queries[torch.from_numpy(single)], 4 * length)
        return found

    def around_steps(
        self, centers: torch.Tensor, lengths: torch.Tensor, directions: torch.Tensor
    ) -> Ids:
        """Find the five nearest families of center + length · direction, shape (n, B, 5)."""
        rows = self.table[torch.from_numpy(self.usable)] - self.origin
        length = min(SHORTLIST, len(rows))
        shortlists = nearest_to_steps(centers - self.origin, lengths, directions, rows, length)
        found = self.families(shortlists)
        single = (found >= 0).sum(axis=-1) < 2  # (n, B)
        if single.any() and length < len(rows):
            n, draw = (torch.from_numpy(index) for index in np.nonzero(single))
            steps = centers[n] + lengths[n, None] * directions[draw]
            found[single] = self.around(steps, 4 * length)
        return found

    def around_displacements(self, displacements: torch.Tensor) -> Ids:
        """Find the five families that displacements point to, shape (n, 5); −1 for those of zero.

        A difference of two vectors has no mean to subtract. The rows may have: without their mean,
        which says nothing about one word rather than another, a displacement points to the words
        that it moves a vector to more than to the rest.
        """
        found = np.full((len(displacements), FAMILIES), -1)
        moved = displacements.norm(dim=1) > 0
        if moved.any():
            ids = self.around(displacements[moved] + self.origin)
            found[moved.cpu().numpy(), : ids.shape[1]] = ids
        return found

    def tightness(self, neighborhoods: Ids) -> NDArray[np.float64]:
        """Compute the mean pairwise cosine in `rows` and in `states`, shape (2, ...).

        NaN for fewer than two families, as around a displacement of zero.
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
class Chance:
    """Draws of the nulls that do not depend on a run: B of each, 20 B of random directions.

    Attributes:
        draws: B.
        nulls: families of the draws, shape (1, B, 5) or (1, 20 B, 5). random_directions: those
            around the space's origin; random_tokens: five random tokens; real_tokens: tokens of the
            vocabulary.
    """

    draws: int
    nulls: dict[str, Ids]

    @classmethod
    def of(cls, space: NeighborhoodSpace, draws: int, rng: np.random.Generator) -> "Chance":
        """Draw from the nulls of a space, whose metric is cosine or centered."""
        tokens = torch.from_numpy(rng.choice(space.usable, draws))
        nulls = {
            "random_tokens": rng.choice(space.usable, (1, draws, FAMILIES)),
            # relative to the origin, the length of a vector does not change its neighbors
            "random_directions": space.around_steps(
                space.origin[None],
                torch.ones(1, device=space.table.device),
                _directions(space, DIRECTIONS * draws, rng),
            ),
            "real_tokens": space.around(space.table[tokens])[None],
        }
        return cls(draws, nulls)


def _directions(space: NeighborhoodSpace, count: int, rng: np.random.Generator) -> torch.Tensor:
    """Draw random unit vectors, shape (count, d)."""
    shape = count, space.table.shape[1]
    noise = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)).to(space.table.device)
    return torch.nn.functional.normalize(noise)


@dataclass(frozen=True)
class NeighborhoodSample:
    """The five nearest families of trained vectors, and of draws from the null distributions.

    Attributes:
        now: families of the trained vectors, token ids, shape (n, 5).
        start: families of the initial vectors, shape (n, 5); None if the start is unknown.
        displacement: families of the displacements, shape (n, 5), −1 for a vector that has not
            moved; None if the start is unknown. Their null is random_directions.
        nulls: families of the draws, shape (n, B, 5), or (1, B, 5) where all vectors share them:
            those of `Chance`; steps: the start plus a random step of the trained length; untrained:
            vectors initialized with other seeds.
    """

    now: Ids
    start: Ids | None
    displacement: Ids | None
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

    Raises:
        NotApplicable: the vocabulary has fewer than two words, or see `trained_vectors`.
    """

    def sample() -> tuple[NeighborhoodSpace, NeighborhoodSample]:
        vectors = trained_vectors(run, base, step)
        space = _space(vectors, base, metric)
        chance = _chance(base, vectors.space, space, draws, seed)
        # other draws for each run: an odd one must not be in the null of all of them
        rng = np.random.default_rng([seed, crc32(run.id.encode())])
        return space, sample_nulls(vectors, space, chance, rng, other_starts(run, base, draws))

    # several probes need the neighborhoods of one run
    return base.derived(
        "neighborhoods", sample, key=(run, run.id, step, metric, draws, seed), most=8
    )


def _chance(base: BaseModel, name: str, space: NeighborhoodSpace, draws: int, seed: int) -> Chance:
    """Return the draws that all runs on a base share, from the cache folder once they are made."""

    def draw() -> dict[str, NDArray]:
        drawn = Chance.of(space, draws, np.random.default_rng(seed)).nulls
        return {null: ids.astype(np.int32) for null, ids in drawn.items()}

    key = f"{name.replace(' ', '-')}-{space.metric}-{draws}-{seed}-{len(space.usable)}"
    drawn = kept(base, f"chance-{key}", draw)
    return Chance(draws, {null: ids.astype(np.int64) for null, ids in drawn.items()})


def _space(vectors: TrainedVectors, base: BaseModel, metric: Metric) -> NeighborhoodSpace:
    """Return the space of vectors; shared by the steps of all runs that train embeddings."""
    vocab = vocabulary(base)
    if len(set(vocab.family[vocab.usable])) < 2:
        raise NotApplicable("the vocabulary has fewer than two words: none has a neighborhood")
    return base.derived(
        "neighborhood space",
        lambda: NeighborhoodSpace.of(vectors.table, vocab, states(base), metric),
        key=(vectors.space, metric),
        most=2,  # one for each metric
    )


def sample_nulls(
    vectors: TrainedVectors,
    space: NeighborhoodSpace,
    chance: Chance,
    rng: np.random.Generator,
    others: torch.Tensor | None = None,
) -> NeighborhoodSample:
    """Compute the neighborhoods of vectors and of the nulls; see `NeighborhoodSample`.

    Args:
        vectors: trained vectors, with their start if known.
        space: space of the vectors; its metric is cosine or centered.
        chance: draws of the space's own nulls.
        rng: source of the random steps.
        others: vectors initialized with other seeds, shape (B, d).
    """
    nulls, start, displacement = dict(chance.nulls), None, None
    if vectors.start is not None:
        moved = vectors.now - vectors.start  # (n, d)
        directions = _directions(space, chance.draws, rng)
        nulls["steps"] = space.around_steps(vectors.start, moved.norm(dim=1), directions)
        start, displacement = space.around(vectors.start), space.around_displacements(moved)
    if others is not None:
        nulls["untrained"] = space.around(others)[None]
    return NeighborhoodSample(space.around(vectors.now), start, displacement, nulls)


def p_values(observed: NDArray, null: NDArray) -> NDArray[np.float64]:
    """Return one p-value per vector, of the mean of the two spaces' standardized values.

    Each space is standardized by the mean and standard deviation of the draws and the observed
    value together, so that under the null all of them are exchangeable and the test is exact.

    Args:
        observed: shape (2, n); NaN for a vector without a value.
        null: shape (2, n, B), or (2, 1, B).

    Returns:
        Shape (n,); NaN where nothing was observed.
    """
    draws = np.broadcast_to(null, (*observed.shape, null.shape[2]))
    values = np.concatenate([observed[..., None], draws], axis=-1)  # (2, n, 1 + B)
    spread = values.std(axis=-1, keepdims=True)
    centered = values - values.mean(axis=-1, keepdims=True)
    scores = (centered / np.where(spread > 0, spread, 1)).mean(axis=0)
    return np.array([np.nan if np.isnan(one[0]) else p_value(one[0], one[1:]) for one in scores])


def prompt_means(null: NDArray, n: int, rng: np.random.Generator) -> NDArray:
    """Compute null means over n vectors, shape (2, 1, B), with draws permuted between vectors.

    Vectors share their draws, and a mean over the same draw would vary too much.
    """
    whole = np.broadcast_to(null, (2, n, null.shape[2]))
    mixed = [whole[:, i, rng.permutation(null.shape[2])] for i in range(n)]
    return np.nanmean(mixed, axis=0)[:, None]
