"""Directions that an update put among a weight's strongest, and that the weight did not have.

Of the k largest left singular vectors of W₀ + ΔW, those whose |cos| with every left singular vector
of W₀ is below a threshold. Source: Shuttleworth et al. 2024, arXiv:2410.21228, section 3: k = 10
and a threshold of 0.5, as here. A random direction would come about as near as `random` says, far
below the threshold: so a count of zero shows that W₀'s strong directions were kept.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from peftlens.adapters.delta_weights import DeltaWeight, delta_weights
from peftlens.adapters.run_context import RunContext
from peftlens.numerics.linalg import nearest_cosines, random_cosine
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset({"delta_weight"})
VERSION = 2
OPTIONAL = True  # it decomposes whole weights, two each


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        directions: k, the strongest directions that are looked at.
        threshold: |cos| below which a direction is new.
    """

    directions: int = 10
    threshold: float = 0.5


COLUMNS = (
    Column("step", "optimizer steps taken", "steps"),
    Column("weight", "the weight matrix; none is listed that is as it was"),
    Column("intruders", "of its strongest directions, those that it did not have", "1", "lower"),
    Column("directions", "strongest directions that were looked at", "1"),
    Column("lowest_cosine", "of these, the smallest nearest |cos| with a direction of W₀", "1",
           "higher"),
    Column("first_intruder", "how many directions are stronger than the first intruder", "1"),
    Column("random", "nearest |cos| that a random direction would have", "1"),
)  # fmt: skip
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="lowest_cosine",
        title="How near W₀ comes to the newest of the strongest directions",
    ),
)


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """A row for each changed weight matrix at every saved step.

    Raises:
        NotApplicable: no matrix has changed.
    """
    base = context.base_model(run)
    rows = [
        {"step": step} | _row(update, config)
        for step in run.steps
        for update in delta_weights(run, base, step)
    ]
    if not rows:
        raise NotApplicable(f"{run.config.method} has changed no weight matrix")
    return pd.DataFrame(rows).astype({"first_intruder": "Int64"})


def _row(update: DeltaWeight, config: Config) -> dict[str, Any]:
    own = np.linalg.svd(update.before, full_matrices=False).U
    tuned = np.linalg.svd(update.after, full_matrices=False).U
    near = nearest_cosines(tuned[:, : config.directions], own)
    new = near < config.threshold
    return {
        "weight": update.name,
        "intruders": int(new.sum()),
        "directions": len(near),
        "lowest_cosine": float(near.min()),
        "first_intruder": int(new.argmax()) if new.any() else None,
        "random": random_cosine(*own.shape),
    }
