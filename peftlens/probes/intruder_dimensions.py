"""Intruder dimensions: strong singular directions of a tuned weight that are new to the weight.

Of the k strongest left singular vectors of W₀ + ΔW, those with |cos| below a threshold to every
left singular vector of W₀. Source: Shuttleworth et al. 2024, arXiv:2410.21228, section 3, with
k = 10 and a threshold of 0.5, as here. The column `random` gives the expected nearest |cos| of a
random direction, far below the threshold: a count of zero therefore shows that the strong
directions of W₀ persist.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from peftlens.adapters.delta_weights import DeltaWeight, saved_delta_weights
from peftlens.adapters.run_context import RunContext
from peftlens.numerics.linalg import nearest_cosines, random_cosine
from peftlens.results.table import Chart, Column
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset({"delta_weight"})
VERSION = 3
OPTIONAL = True  # two full decompositions per weight


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        directions: k, the number of strongest directions.
        threshold: |cos| below which a direction counts as new.
    """

    directions: int = 10
    threshold: float = 0.5


COLUMNS = (
    Column("step", "number of optimizer steps taken", "steps"),
    Column("weight", "name of the weight matrix; unchanged matrices are omitted"),
    Column("intruders", "number of new directions among the strongest", "1", "lower"),
    Column("directions", "number of strongest directions", "1"),
    Column("lowest_cosine", "smallest over these of the nearest |cos| with a direction of W₀", "1",
           "higher"),
    Column("first_intruder", "number of directions stronger than the first intruder", "1"),
    Column("random", "expected nearest |cos| of a random direction", "1"),
)  # fmt: skip
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="lowest_cosine",
        title="Lowest nearest |cos| of the strongest directions with W₀",
    ),
)


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """Return one row per saved step and changed weight matrix.

    Raises:
        NotApplicable: no weight matrix changed.
    """
    rows = [
        {"step": step} | _row(update, config)
        for step, update in saved_delta_weights(run, context.base_model(run))
    ]
    return pd.DataFrame(rows).astype({"first_intruder": "Int64"})


def _row(update: DeltaWeight, config: Config) -> dict[str, Any]:
    original = np.linalg.svd(update.before, full_matrices=False).U
    tuned = np.linalg.svd(update.after, full_matrices=False).U
    near = nearest_cosines(tuned[:, : config.directions], original)
    new = near < config.threshold
    return {
        "weight": update.name,
        "intruders": int(new.sum()),
        "directions": len(near),
        "lowest_cosine": float(near.min()),
        "first_intruder": int(new.argmax()) if new.any() else None,
        "random": random_cosine(*original.shape),
    }
