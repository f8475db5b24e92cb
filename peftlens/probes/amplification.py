"""Amplification factor of an update in its strongest directions of the weight.

‖ΔW‖_F / ‖Uᵀ W₀ V‖_F, with U and V the strongest directions of ΔW: large where training strengthens
directions that are weak in W₀. For comparison, the norm of W₀ in equally many of its strongest
directions and of random directions. Source: Hu et al. 2021, arXiv:2106.09685, section 7.3.
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
OPTIONAL = True  # it decomposes every changed weight


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        directions: number of directions of ΔW on each side; 0 for the nominal rank, or, without
            a rank, the number of directions with 90 % of ‖ΔW‖_F².
    """

    directions: int = 0


COLUMNS = (
    Column("weight", "name of the weight matrix; unchanged matrices are omitted"),
    Column("directions", "number of directions of ΔW on each side", "1"),
    Column("update_norm", "‖ΔW‖_F", "1"),
    Column("weight_norm", "‖W₀‖_F", "1"),
    Column("in_update", "‖Uᵀ W₀ V‖_F in the strongest directions of ΔW", "1"),
    Column("in_weight", "norm of W₀ in its strongest directions", "1"),
    Column("in_random", "expected norm of W₀ in random directions", "1"),
    Column("amplification", "update_norm / in_update", "1"),
    Column("random_amplification", "update_norm / in_random", "1"),
)
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="amplification",
        title="Amplification factor of the update in its directions of the weight",
    ),
)


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """Return one row per changed weight matrix, at the end of training.

    Raises:
        NotApplicable: no weight matrix changed.
    """
    rows = [
        _row(update, config.directions) for update in delta_weights(run, context.base_model(run))
    ]
    if not rows:
        raise NotApplicable(f"{run.config.method} has changed no weight matrix")
    return pd.DataFrame(rows)


def _row(update: DeltaWeight, directions: int) -> dict[str, Any]:
    s = update.svd.s
    count = min(directions or update.rank or energy_rank(s), len(s))
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
