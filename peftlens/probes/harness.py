"""Tasks of lm-evaluation-harness: changes from the base to the run's model, paired by document.

A metric of 0 and 1 flips: documents that became wrong (1 to 0) and right (0 to 1) are counted. The
interval of the mean change counts seeds and documents.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.numerics.mixed_model import crossed_estimate
from peftlens.results.table import Chart, Column

INPUTS = ("harness_items",)
VERSION = 1
OPTIONAL = True
COLUMNS = (
    Column("configuration", "method and the hyperparameters set by the study"),
    Column("method", "name of the method"),
    Column("task", "name of the task"),
    Column("metric", "name of the metric, with its filter if there is one"),
    Column("base_score", "mean score of the base", "1"),
    Column("score", "mean score of the runs' models", "1"),
    Column("change", "difference of both", "1"),
    Column("ci_low", "lower end of its 95 % interval over seeds and documents", "1"),
    Column("ci_high", "upper end of this interval", "1"),
    Column("became_wrong", "share of documents that went from 1 to 0", "1", "lower"),
    Column("became_right", "share of documents that went from 0 to 1", "1", "higher"),
    Column("n_items", "number of documents"),
    Column("n_seeds", "number of runs"),
)
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="change",
        title="Change of scores of lm-evaluation-harness (bars: 95 % interval)",
        low="ci_low",
        high="ci_high",
        by="task",
    ),
)


def combine(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one row per configuration, task and metric."""
    keys = ["configuration", "method", "task", "metric"]
    groups = tables["harness_items"].groupby(keys, sort=False)
    rows = [dict(zip(keys, names, strict=True)) | _row(group) for names, group in groups]
    return pd.DataFrame(rows, columns=[column.name for column in COLUMNS])


def _row(group: pd.DataFrame) -> dict[str, object]:
    before, after = group["base_score"].astype(float), group["score"].astype(float)
    change = crossed_estimate(
        group.assign(value=after - before).pivot(index="run", columns="item", values="value")
    )
    return {
        "base_score": before.mean(),
        "score": after.mean(),
        "change": change.value,
        "ci_low": change.low,
        "ci_high": change.high,
        "became_wrong": ((before == 1) & (after == 0)).mean(),
        "became_right": ((before == 0) & (after == 1)).mean(),
        "n_items": group["item"].nunique(),
        "n_seeds": group["run"].nunique(),
    }
