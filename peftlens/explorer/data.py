"""What an explorer shows, in arrays and words, before anything draws it.

V is the number of tokens.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = (
    "begins a word",
    "goes on",
    "digits",
    "marks",
    "part of a character",
    "special",
    "untrained",
)


@dataclass(frozen=True)
class PromptTrajectory:
    """A run's vectors, step by step; n vectors, s steps.

    Attributes:
        name: configuration and seed.
        verdict: on the whole prompt at the last step; empty where it was not tested.
        steps: that were saved.
        positions: which virtual token, or row of the table, each vector is.
        starts: the token nearest to each before training.
        xy: where each lies on the map, shape (s, n, 2).
        moved: from its start, in lengths of the start, shape (s, n); NaN where nobody knows.
        off: share of the tokens that have another token nearer than the vector has, shape (s, n).
        verdicts: on each vector, s lists of n; empty where it was not tested.
        q: of the verdicts, in the same shape.
        near: by metric, ids and similarities of the nearest tokens, each of shape (s, n, k).
    """

    name: str
    verdict: str
    steps: tuple[int, ...]
    positions: tuple[int, ...]
    starts: tuple[str | None, ...]
    xy: NDArray[np.float64]
    moved: NDArray[np.float64]
    off: NDArray[np.float64]
    verdicts: list[list[str]]
    q: list[list[float | None]]
    near: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]


@dataclass(frozen=True)
class LogitShift:
    """What a run predicts more and less than its base.

    Attributes:
        name: configuration and seed.
        text: what was read.
        raised: ids of tokens with the changes of their logits, the largest first.
        lowered: the same downwards.
    """

    name: str
    text: str
    raised: tuple[tuple[int, float], ...]
    lowered: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class ExplorerData:
    """A vocabulary with what was trained on it.

    Attributes:
        base: the model.
        sha256: of its weights.
        width: of its embeddings.
        tokens: readable text of each id.
        points: where each token lies, shape (V, 2).
        projection: how the map was made.
        recall: see `vocab.projection`.
        chance: the same by chance.
        norm: share of the tokens that are shorter, shape (V,).
        kind: index into KINDS, shape (V,).
        cluster: of each token, shape (V,); −1 where it has none.
        cluster_names: their names.
        task: highest cosine of each token to a label of the task, shape (V,), if there are labels.
        trails: of the runs that trained vectors.
        shifts: of runs whose logits were compared with the base's.
    """

    base: str
    sha256: str
    width: int
    tokens: tuple[str, ...]
    points: NDArray[np.float32]
    projection: str
    recall: float
    chance: float
    norm: NDArray[np.float64]
    kind: NDArray[np.uint8]
    cluster: NDArray[np.int64] | None
    cluster_names: tuple[str, ...]
    trails: tuple[PromptTrajectory, ...]
    shifts: tuple[LogitShift, ...] = ()
    task: NDArray[np.float64] | None = None

    def scaled(self, places: NDArray[Any]) -> NDArray[np.float64]:
        """Places on the map in the page's units, 0 to 65,535 over the points' larger side."""
        low = self.points.min(axis=0)
        side = float((self.points.max(axis=0) - low).max()) or 1.0
        return (np.asarray(places, float) - low) / side * 65_535
