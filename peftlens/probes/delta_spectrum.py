"""How many directions an update uses: the singular values of ΔW, weight by weight.

A nominal rank r says how many there may be. Stable rank, effective rank and k90 say how many there
are; over r, how much of the rank was used. For a method without a rank that column is missing.
Where an update's factors are known its r values come from those, exactly; a dense one is decomposed
whole, or by its largest values if the matrix is large: then `exact` is false, and the figures are
of the part of ‖ΔW‖_F² that `captured` gives.
"""

from typing import Any

import numpy as np
import pandas as pd

from peftlens.adapters.delta_weights import DeltaWeight, delta_weights
from peftlens.adapters.run_context import RunContext
from peftlens.numerics.linalg import effective_rank, energy_rank, stable_rank
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset({"delta_weight"})
VERSION = 1
COLUMNS = (
    Column("step", "optimizer steps taken", "steps"),
    Column("weight", "the weight matrix; none is listed that is as it was"),
    Column("d_out", "its outputs", "1"),
    Column("d_in", "its inputs", "1"),
    Column("rank", "nominal rank r; missing for methods that have none"),
    Column("norm", "‖ΔW‖_F", "1"),
    Column("relative_norm", "‖ΔW‖_F / ‖W₀‖_F", "1"),
    Column("stable_rank", "‖ΔW‖_F² / ‖ΔW‖₂²", "1"),
    Column("effective_rank", "exp of the entropy of the singular values' shares", "1"),
    Column("k90", "singular values that hold 90 % of ‖ΔW‖_F²", "1"),
    Column("stable_rank_used", "stable_rank / r", "1"),
    Column("effective_rank_used", "effective_rank / r", "1"),
    Column("k90_used", "k90 / r", "1"),
    Column("exact", "all singular values are known, not the largest only"),
    Column("captured", "share of ‖ΔW‖_F² in the values that are known", "1"),
)
CHARTS = tuple(
    Chart("points", x="configuration", y=y, title=title)
    for y, title in (
        ("effective_rank", "Effective rank of the update"),
        ("stable_rank", "Stable rank of the update"),
        ("relative_norm", "Size of the update relative to the weight"),
    )
)


def measure(context: RunContext, run: TrainedModel) -> pd.DataFrame:
    """A row for each changed weight matrix at every saved step.

    Raises:
        NotApplicable: no matrix has changed.
    """
    base = context.base_model(run)
    rows = [
        {"step": step} | _row(update)
        for step in run.steps
        for update in delta_weights(run, base, step)
    ]
    if not rows:
        raise NotApplicable(f"{run.config.method} has changed no weight matrix")
    used = [column.name for column in COLUMNS if column.name.endswith("_used")]
    return pd.DataFrame(rows).astype({"rank": "Int64"} | dict.fromkeys(used, "Float64"))


def _row(update: DeltaWeight) -> dict[str, Any]:
    s, nominal = update.values, update.rank
    measured = {
        "stable_rank": stable_rank(s),
        "effective_rank": effective_rank(s),
        "k90": energy_rank(s),
    }
    return {
        "weight": update.name,
        "d_out": update.before.shape[0],
        "d_in": update.before.shape[1],
        "rank": nominal,
        "norm": update.norm,
        "relative_norm": update.norm / float(np.linalg.norm(update.before)),
        **measured,
        **{f"{name}_used": nominal and value / nominal for name, value in measured.items()},
        "exact": update.exact,
        "captured": float((np.asarray(s, float) ** 2).sum()) / update.norm**2,
    }
