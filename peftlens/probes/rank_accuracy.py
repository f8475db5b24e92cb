"""Rank against parameters against accuracy: what another direction buys.

With one learning rate and few seeds this is a first look, not a finding: the best rate differs from
rank to rank, so read the intervals before the order.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from peftlens.stats import mean_interval
from peftlens.table import Chart, Column

FROM = ("task_items", "parameter_count")
VERSION = 1
COLUMNS = (
    Column("configuration", "method and the hyperparameters that the study set"),
    Column("rank", "nominal rank"),
    Column("trainable_parameters", "parameters that the optimizer changes", "1", "lower"),
    Column("adapter_bytes", "size of the adapter on disk", "bytes", "lower"),
    Column("accuracy", "share of test examples answered right, mean over seeds", "1", "higher"),
    Column("items_low", "lower end of the 95 % interval over test examples", "1"),
    Column("items_high", "upper end of the 95 % interval over test examples", "1"),
    Column("n_items", "test examples"),
    Column("n_seeds", "runs"),
)
CHARTS = (
    Chart(
        "line",
        x="trainable_parameters",
        y="accuracy",
        title="Accuracy against trainable parameters, by rank",
        low="items_low",
        high="items_high",
        text="rank",
        log_x=True,
    ),
)


def combine(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row per configuration that has a rank, by rank."""
    counts = tables["parameter_count"].dropna(subset="rank").set_index("run")
    items = tables["task_items"]
    items = items[items["run"].isin(counts.index)]
    rows = []
    for name, group in items.groupby("configuration", sort=False):
        count = counts.loc[group["run"].iloc[0]]
        by_item = (group["chosen"] == group["correct"]).groupby(group["item"]).mean()
        interval = mean_interval(by_item, np.random.default_rng(0))
        rows.append(
            {
                "configuration": name,
                "rank": int(count["rank"]),
                "trainable_parameters": count["trainable_parameters"],
                "adapter_bytes": count["adapter_bytes"],
                "accuracy": float(by_item.mean()),
                "items_low": interval.low,
                "items_high": interval.high,
                "n_items": len(by_item),
                "n_seeds": group["run"].nunique(),
            }
        )
    table = pd.DataFrame(rows, columns=[column.name for column in COLUMNS])
    return table.sort_values("rank", ignore_index=True)
