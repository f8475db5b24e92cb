"""How an update changes the lengths of a weight's rows, and how their directions.

W = m · V with one length m for each output: ΔM is the mean |m − m₀| over the rows, ΔD the mean of
1 − cos between a row and what it was. Over weights and steps the two go together in LoRA and apart
in full fine-tuning and DoRA, so Liu et al. 2024, arXiv:2402.09353, section 3.2, where a row here is
a column. A weight's rows are those that peft's DoRA gives a length each.
"""

from typing import Any

import numpy as np
import pandas as pd

from peftlens.adapters.delta_weights import DeltaWeight, delta_weights
from peftlens.adapters.run_context import RunContext
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset({"delta_weight"})
VERSION = 2
OPTIONAL = True  # it decomposes every weight that has changed
COLUMNS = (
    Column("step", "optimizer steps taken", "steps"),
    Column("weight", "the weight matrix; none is listed that is as it was"),
    Column("magnitude", "ΔM: mean change of its rows' lengths", "1"),
    Column("relative_magnitude", "ΔM over the mean length", "1"),
    Column("direction", "ΔD: mean 1 − cos of its rows with what they were", "1"),
    Column("correlation", "of ΔM with ΔD over the run's weights of this role and steps; missing "
           "with fewer than three", "1"),
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
    frame = pd.DataFrame(rows)
    role = frame["weight"].str.split(".").str[-2]
    frame["correlation"] = pd.array([pd.NA] * len(frame), "Float64")
    for _, group in frame.groupby(role):
        if len(group) > 2:
            found = np.corrcoef(group["magnitude"], group["direction"])[0, 1]
            frame.loc[group.index, "correlation"] = found
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
