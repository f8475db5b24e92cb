"""Decomposition of an update into changes of magnitude and direction of a weight's rows (DoRA).

W = m · V with one length m per output: ΔM is the mean |m − m₀| over the rows, ΔD the mean of
1 − cos between a row before and after training. According to Liu et al. 2024, arXiv:2402.09353,
section 3.2, the two correlate positively over weights and steps in LoRA, and negatively in full
fine-tuning and DoRA. A row here is a column there. Rows are those to which peft's DoRA assigns a
magnitude.
"""

from typing import Any

import numpy as np
import pandas as pd

from peftlens.adapters.delta_weights import DeltaWeight, saved_delta_weights
from peftlens.adapters.run_context import RunContext
from peftlens.results.table import Chart, Column
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset({"delta_weight"})
VERSION = 2
OPTIONAL = True  # it decomposes every changed weight
COLUMNS = (
    Column("step", "number of optimizer steps taken", "steps"),
    Column("weight", "name of the weight matrix; unchanged matrices are omitted"),
    Column("magnitude", "ΔM: mean absolute change of the rows' lengths", "1"),
    Column("relative_magnitude", "ΔM divided by the mean length before training", "1"),
    Column("direction", "ΔD: mean 1 − cos between the rows before and after training", "1"),
    Column("correlation", "correlation of ΔM with ΔD over the weights of this role and the steps "
           "of the run; missing with fewer than three", "1"),
)  # fmt: skip
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="correlation",
        title="Correlation of the changes of length and of direction",
    ),
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
    frame = pd.DataFrame(rows)
    role = frame["weight"].str.split(".").str[-2]
    frame["correlation"] = pd.array([pd.NA] * len(frame), "Float64")
    for _, group in frame.groupby(role):
        if len(group) > 2:
            correlation = np.corrcoef(group["magnitude"], group["direction"])[0, 1]
            frame.loc[group.index, "correlation"] = correlation
    return frame


def _row(update: DeltaWeight) -> dict[str, Any]:
    before, after = update.before.astype(float), update.after.astype(float)
    m, m0 = np.linalg.norm(after, axis=1), np.linalg.norm(before, axis=1)
    lengths = np.where(m * m0 > 0, m * m0, 1)
    change = float(np.abs(m - m0).mean())
    return {
        "weight": update.name,
        "magnitude": change,
        "relative_magnitude": change / float(m0.mean()),
        "direction": float((1 - (before * after).sum(axis=1) / lengths).mean()),
    }
