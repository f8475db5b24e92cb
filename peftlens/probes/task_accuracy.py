"""Accuracy of each configuration on its task, with the two sources of noise told apart.

The interval over items says how the figure would move with other test examples, the interval over
seeds how it would move with another training run. With one seed there is no interval over seeds.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from peftlens.stats import mean_interval
from peftlens.table import Chart, Column

FROM = ("task_items",)
VERSION = 1
COLUMNS = (
    Column("configuration", "method and the hyperparameters that the study set"),
    Column("accuracy", "share of test examples answered right, mean over seeds", "1", "higher"),
    Column("items_low", "lower end of the 95 % interval over test examples", "1"),
    Column("items_high", "upper end of the 95 % interval over test examples", "1"),
    Column("seeds_low", "lower end of the 95 % interval over seeds; none with one seed", "1"),
    Column("seeds_high", "upper end of the 95 % interval over seeds; none with one seed", "1"),
    Column("accuracy_per_byte", "the same where answers compete per byte", "1", "higher"),
    Column("loss", "negative log-probability of the right answer", "nats per token", "lower"),
    Column("n_items", "test examples"),
    Column("n_seeds", "runs"),
)
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="accuracy",
        title="Accuracy on the test split (bars: 95 % interval over test examples)",
        low="items_low",
        high="items_high",
    ),
)


def combine(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row per configuration, in the study's order."""
    items = tables["task_items"]
    items = items.assign(
        right=items["chosen"] == items["correct"],
        right_per_byte=items["chosen_per_byte"] == items["correct"],
    )
    rows = [_row(str(name), group) for name, group in items.groupby("configuration", sort=False)]
    return pd.DataFrame(rows, columns=[column.name for column in COLUMNS])


def _row(configuration: str, group: pd.DataFrame) -> dict[str, object]:
    rng = np.random.default_rng(0)
    by_item = group.groupby("item")["right"].mean()
    by_seed = group.groupby("run")["right"].mean()
    items, seeds = mean_interval(by_item, rng), mean_interval(by_seed, rng)
    return {
        "configuration": configuration,
        "accuracy": float(by_item.mean()),
        "items_low": items.low,
        "items_high": items.high,
        "seeds_low": seeds.low,
        "seeds_high": seeds.high,
        "accuracy_per_byte": float(group["right_per_byte"].mean()),
        "loss": float(group["loss"].mean()),
        "n_items": len(by_item),
        "n_seeds": len(by_seed),
    }
