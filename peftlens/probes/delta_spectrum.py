"""Spectrum of the update ΔW per weight: stable rank, effective rank and energy rank.

The nominal rank r is an upper bound on the number of directions. Stable rank, effective rank and
k90 measure the number of directions in use; divided by r, the used share of the rank (missing for
methods without a rank). The r singular values of a factorized update are computed exactly from its
factors. A dense update is decomposed in full, or partially if the matrix is large: then only its
largest singular values are computed, `exact` is false, and the numbers refer to the share
`captured` of ‖ΔW‖_F².
"""

from typing import Any

import numpy as np
import pandas as pd

from peftlens.adapters.delta_weights import DeltaWeight, saved_delta_weights
from peftlens.adapters.run_context import RunContext
from peftlens.numerics.linalg import effective_rank, energy_rank, stable_rank
from peftlens.results.table import Chart, Column
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset({"delta_weight"})
VERSION = 1
COLUMNS = (
    Column("step", "number of optimizer steps taken", "steps"),
    Column("weight", "name of the weight matrix; unchanged matrices are omitted"),
    Column("d_out", "number of outputs", "1"),
    Column("d_in", "number of inputs", "1"),
    Column("rank", "nominal rank r; missing for methods without a rank"),
    Column("norm", "‖ΔW‖_F", "1"),
    Column("relative_norm", "‖ΔW‖_F / ‖W₀‖_F", "1"),
    Column("stable_rank", "‖ΔW‖_F² / ‖ΔW‖₂²", "1"),
    Column("effective_rank", "exponential of the entropy of the normalized singular values", "1"),
    Column("k90", "number of singular values needed for 90 % of ‖ΔW‖_F²", "1"),
    Column("stable_rank_used", "stable_rank / r", "1"),
    Column("effective_rank_used", "effective_rank / r", "1"),
    Column("k90_used", "k90 / r", "1"),
    Column("exact", "true if all singular values were computed, not only the largest"),
    Column("captured", "share of ‖ΔW‖_F² in the computed singular values", "1"),
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
    """Return one row per saved step and changed weight matrix.

    Raises:
        NotApplicable: no weight matrix changed.
    """
    rows = [
        {"step": step} | _row(update)
        for step, update in saved_delta_weights(run, context.base_model(run))
    ]
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
