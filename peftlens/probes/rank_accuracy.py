"""Rank against parameters against accuracy: what another direction buys.

With one learning rate and few seeds this is a first look, not a finding: the best rate differs from
rank to rank, so read the intervals before the order.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.table import Chart, Column

FROM = ("task_accuracy", "parameter_count")
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
    counts = tables["parameter_count"].dropna(subset="rank").drop_duplicates("configuration")
    rows = tables["task_accuracy"].merge(counts, on=["configuration", "method"])
    return rows[[column.name for column in COLUMNS]].sort_values("rank", ignore_index=True)
