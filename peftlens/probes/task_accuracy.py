"""Test accuracy of each configuration, with separate intervals over examples and over seeds.

The interval over items estimates the variation with other test examples, the interval over seeds
that with other training runs. With one seed, there is no interval over seeds.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from peftlens.numerics.resampling import few_interval, mean_interval
from peftlens.results.table import Chart, Column

INPUTS = ("task_items",)
VERSION = 3
COLUMNS = (
    Column("configuration", "method and the hyperparameters set by the study"),
    Column("method", "name of the method"),
    Column("accuracy", "share of test examples answered right, mean over seeds", "1", "higher"),
    Column("items_ci_low", "lower end of the 95 % interval over test examples", "1"),
    Column("items_ci_high", "upper end of the 95 % interval over test examples", "1"),
    Column("seeds_ci_low", "lower end of the 95 % interval over seeds; none with one seed", "1"),
    Column("seeds_ci_high", "upper end of the 95 % interval over seeds; none with one seed", "1"),
    Column(
        "accuracy_per_byte", "accuracy by log-probability per byte of the answer", "1", "higher"
    ),
    Column("loss", "negative log-probability of the right answer", "nats per token", "lower"),
    Column("n_items", "number of test examples"),
    Column("n_seeds", "number of runs"),
)
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="accuracy",
        title="Accuracy on the test split (bars: 95 % interval over test examples)",
        low="items_ci_low",
        high="items_ci_high",
    ),
)


def combine(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one row per configuration, in the study's order; tasks of texts have no accuracy."""
    items = tables["task_items"]
    rows = [_row(str(name), group) for name, group in items.groupby("configuration", sort=False)]
    return pd.DataFrame(rows, columns=[column.name for column in COLUMNS])


def _row(configuration: str, group: pd.DataFrame) -> dict[str, object]:
    row: dict[str, object] = {
        "configuration": configuration,
        "method": group["method"].iloc[0],
        "loss": float(group["loss"].mean()),
        "n_items": group["item"].nunique(),
        "n_seeds": group["run"].nunique(),
    }
    if group["chosen"].isna().any():
        return row
    right = group["chosen"] == group["correct"]
    items = mean_interval(right.groupby(group["item"]).mean(), np.random.default_rng(0))
    seeds = few_interval(right.groupby(group["run"]).mean(), (0, 1))
    return row | {
        "accuracy": float(right.mean()),
        "items_ci_low": items.low,
        "items_ci_high": items.high,
        "seeds_ci_low": seeds.low,
        "seeds_ci_high": seeds.high,
        "accuracy_per_byte": float((group["chosen_per_byte"] == group["correct"]).mean()),
    }
