"""Paired difference of scores of lm-evaluation-harness for every pair of configurations.

The difference is on the same documents with the same seeds; a mixed model with both as random
effects gives its interval, as in `paired_accuracy`.
"""

from collections.abc import Iterator, Mapping
from itertools import permutations
from typing import Any

import pandas as pd

from peftlens.results.sweep import interval_columns, paired_differences
from peftlens.results.table import Chart, Column

INPUTS = ("harness_items",)
VERSION = 1
OPTIONAL = True
COLUMNS = (
    Column("task", "name of the task"),
    Column("metric", "name of the metric, with its filter if there is one"),
    Column("configuration", "method and the hyperparameters set by the study"),
    Column("other", "configuration to compare with"),
    Column("difference", "score minus that of the other configuration", "1"),
    Column("difference_ci_low", "lower end of its paired 95 % interval over seeds and documents",
           "1"),
    Column("difference_ci_high", "upper end of this interval", "1"),
    Column("p_value", "two-sided p of no difference, not corrected", "1"),
    Column("n_seeds", "number of runs per configuration"),
    Column("n_items", "number of documents"),
)  # fmt: skip
CHARTS = (
    Chart("heatmap", x="other", y="configuration", value="difference", each="task",
          title="Score of the row's configuration minus that of the column's"),
)  # fmt: skip


def combine(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one row per task, metric and ordered pair; no difference if the seeds differ."""
    items = tables["harness_items"]
    rows = [
        {"task": task, "metric": metric} | row
        for (task, metric), group in items.groupby(["task", "metric"], sort=False)
        for row in _pairs(group)
    ]
    return pd.DataFrame(rows, columns=[column.name for column in COLUMNS])


def _pairs(group: pd.DataFrame) -> Iterator[dict[str, Any]]:
    scores = {
        str(name): own.groupby(["seed", "item"])["score"].mean().unstack()  # (seeds, items)
        for name, own in group.groupby("configuration", sort=False)
    }
    firsts = group.drop_duplicates("configuration")
    methods = dict(zip(firsts["configuration"], firsts["method"], strict=True))
    found = paired_differences(scores, methods)
    for one, other in permutations(scores, 2):
        seeds, items = scores[one].shape
        row = {"configuration": one, "other": other, "n_seeds": seeds, "n_items": items}
        if estimate := found.get((one, other)):
            row |= interval_columns("difference", estimate) | {"p_value": estimate.p_value}
        yield row
