"""Data of the explorer: arrays and texts, independent of their layout on the page.

V is the size of the vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = (
    "begins a word",
    "continues a word",
    "digits",
    "punctuation and symbols",
    "part of a character",
    "special",
    "never trained",
)


@dataclass(frozen=True)
class PromptTrajectory:
    """Trajectory of a run's n vectors over s saved steps.

    Attributes:
        name: configuration and seed of the run.
        verdict: verdict on the whole prompt at the last step; empty where not tested.
        steps: saved steps of the run.
        positions: index of each vector's virtual token, or of its row in the table.
        starts: nearest token of each vector before training.
        xy: positions on the map, shape (s, n, 2).
        displacement: distance from the start over the start's length, shape (s, n); NaN if unknown.
        off_vocabulary: share of tokens with a nearer token than the vector has, shape (s, n).
        verdicts: verdict on each vector, s lists of n; empty where not tested.
        q: q-values of the verdicts, s lists of n.
        near: ids and similarities of the nearest tokens, each of shape (s, n, k), by metric.
        space: positions on the map in three dimensions, shape (s, n, 3); None if there is none.
        run_id: id of the run, by which a server knows it.
    """

    name: str
    verdict: str
    steps: tuple[int, ...]
    positions: tuple[int, ...]
    starts: tuple[str | None, ...]
    xy: NDArray[np.float64]
    displacement: NDArray[np.float64]
    off_vocabulary: NDArray[np.float64]
    verdicts: list[list[str]]
    q: list[list[float | None]]
    near: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]
    space: NDArray[np.float64] | None = None
    run_id: str = ""


@dataclass(frozen=True)
class LogitShift:
    """Tokens whose logits a run raises and lowers most against its base model.

    Attributes:
        name: configuration and seed of the run.
        text: description of the text on which logits were measured.
        raised: token ids with the increases of their logits, largest first.
        lowered: token ids with the decreases of their logits, largest first.
    """

    name: str
    text: str
    raised: tuple[tuple[int, float], ...]
    lowered: tuple[tuple[int, float], ...]


DIRECTION_KINDS = ("difference", "writes", "reads")  # of activations; of an update


@dataclass(frozen=True, kw_only=True)
class DirectionPoint:
    """Direction of an adapter in the residual stream, placed among the k tokens that it means.

    Attributes:
        layer: number of the block, counted from 1.
        kind: one of DIRECTION_KINDS.
        rank: number of the point among those of its kind and layer, counted from 0.
        name: what it is, such as "self_attn.q_proj, direction 1, −".
        size: ‖δ‖ / ‖h‖ of an activation difference, singular value σ of an update's direction.
        center: id of the token at whose place the point stands.
        tokens: ids of the most raised or nearest tokens, most first, shape (k,).
        values: changes of their logits, or their cosines if it is read, shape (k,).
        q: q-value of the test whether its words are those of the training text, if it was measured.
    """

    layer: int
    kind: str
    rank: int
    name: str
    size: float
    center: int
    tokens: NDArray[np.int64]
    values: NDArray[np.float64]
    q: float | None = None


@dataclass(frozen=True, kw_only=True)
class AdapterDirections:
    """Directions of one run.

    Attributes:
        name: configuration and seed of the run.
        points: points of all layers.
        change: reading of the last layer's activation difference, minus the mean token's, shape
            (V,); None if there is none.
        notes: why there are no points of some kind, as sentences.
    """

    name: str
    points: tuple[DirectionPoint, ...]
    change: NDArray[np.float32] | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NeighborPairs:
    """Pairs of tokens that contain the k nearest of every token, and what similarities follow from.

    Attributes:
        k: number of neighbors by each metric.
        metrics: names of the metrics for which the pairs are complete.
        low: lower token id of each pair, ascending, shape (E,).
        high: higher token id of each pair, ascending for equal `low`, shape (E,).
        cosine: cosine of each pair, shape (E,).
        mean_product: product of each token's embedding with the mean embedding, shape (V,).
        density: mean cosine of each token to its ten nearest, shape (V,).
        mean_square: squared length of the mean embedding.
    """

    k: int
    metrics: tuple[str, ...]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    cosine: NDArray[np.float32]
    mean_product: NDArray[np.float32]
    density: NDArray[np.float32]
    mean_square: float


@dataclass(frozen=True)
class ExplorerData:
    """All data of the explorer: a vocabulary map, and what is drawn on it.

    Attributes:
        base: name of the base model.
        sha256: digest of its weights.
        width: width of its embeddings.
        tokens: readable text of each token id.
        points: coordinates of the tokens, shape (V, 2).
        projection: name of the projection.
        recall: share of neighbors retained by the map, see `vocab.projection`.
        chance: recall of a random map.
        norm: length of each token's embedding, shape (V,).
        kind: index into KINDS, shape (V,).
        cluster: cluster of each token, shape (V,); −1 for none.
        cluster_names: names of the clusters.
        trails: trajectories of the runs that trained vectors.
        shifts: logit shifts of the runs for which they were measured.
        directions: directions of the runs for which they were asked.
        task: highest cosine of each token to a label of the task, shape (V,), if there are labels.
        space: coordinates of the tokens in three dimensions, shape (V, 3), if there are any.
        neighbors: nearest tokens of every token; None if a server finds them.
    """

    base: str
    sha256: str
    width: int
    tokens: tuple[str, ...]
    points: NDArray[np.float32]
    projection: str
    recall: float
    chance: float
    norm: NDArray[np.floating]
    kind: NDArray[np.uint8]
    cluster: NDArray[np.int64] | None
    cluster_names: tuple[str, ...]
    trails: tuple[PromptTrajectory, ...]
    shifts: tuple[LogitShift, ...] = ()
    directions: tuple[AdapterDirections, ...] = ()
    task: NDArray[np.float64] | None = None
    space: NDArray[np.float32] | None = None
    neighbors: NeighborPairs | None = None

    def scaled(self, places: NDArray[Any]) -> NDArray[np.float64]:
        """Scale coordinates to the page's units, 0 to 65,535 over the points' larger side.

        Args:
            places: positions, shape (..., 2) on the map or (..., 3) in space.
        """
        places = np.asarray(places, float)
        points = self.points if places.shape[-1] == 2 else self.space
        assert points is not None  # who has places in space has the space
        low = points.min(axis=0)
        side = float((points.max(axis=0) - low).max()) or 1.0
        return (places - low) / side * 65_535
