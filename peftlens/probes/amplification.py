"""By how much an update amplifies what the weight had in the update's own directions.

‖ΔW‖_F / ‖Uᵀ W₀ V‖_F, with U and V the strongest directions of ΔW: large where training strengthens
what W₀ does little of. Beside it what W₀ has in as many of its own strongest directions, and in
random ones. Source: Hu et al. 2021, arXiv:2106.09685, section 7.3.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from peftlens.adapters.delta_weights import DeltaWeight, delta_weights
from peftlens.adapters.run_context import RunContext
from peftlens.numerics.linalg import energy_rank, projected, random_projection
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset({"delta_weight"})
VERSION = 2
OPTIONAL = True  # it decomposes every weight that has changed


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        directions: of ΔW on each side; 0 takes the nominal rank, or without one those that hold
            90 % of ‖ΔW‖_F².
    """

    directions: int = 0


COLUMNS = (
    Column("weight", "the weight matrix; none is listed that is as it was"),
    Column("directions", "of ΔW on each side", "1"),
    Column("update_norm", "‖ΔW‖_F", "1"),
    Column("weight_norm", "‖W₀‖_F", "1"),
    Column("in_update", "‖Uᵀ W₀ V‖_F in the strongest directions of ΔW", "1"),
    Column("in_weight", "the same in the strongest directions of W₀", "1"),
    Column("in_random", "the same expected in random directions", "1"),
    Column("amplification", "update_norm / in_update", "1"),
    Column("random_amplification", "update_norm / in_random", "1"),
)
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="amplification",
        title="By how much the update amplifies its directions of the weight",
    ),
)


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """A row for each changed weight matrix, at the end of training.

    Raises:
        NotApplicable: no matrix has changed.
    """
    rows = [
        _row(update, config.directions) for update in delta_weights(run, context.base_model(run))
    ]
    if not rows:
        raise NotApplicable(f"{run.config.method} has changed no weight matrix")
    return pd.DataFrame(rows)


def _row(update: DeltaWeight, asked: int) -> dict[str, Any]:
    s = update.svd.s
    count = min(asked or update.rank or energy_rank(s), len(s))
    u, vt = update.svd.u[:, :count], update.svd.vt[:count]
    weight_norm = float(np.linalg.norm(update.before))
    in_update = float(np.linalg.norm(projected(u, vt, update.before)))
    in_random = random_projection(weight_norm, count, update.before.shape)
    return {
        "weight": update.name,
        "directions": count,
        "update_norm": update.norm,
        "weight_norm": weight_norm,
        "in_update": in_update,
        "in_weight": float(np.linalg.norm(update.own_values[:count])),
        "in_random": in_random,
        "amplification": update.norm / in_update,
        "random_amplification": update.norm / in_random,
    }
