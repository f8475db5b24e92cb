"""Configurations at their best learning rate, in a form in which they can be compared.

Of a configuration's rates the one with the highest mean accuracy on validation examples counts:
one rate for all would decide the order. It is scored on test examples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from peftlens.numerics.resampling import crossed_interval, few_interval
from peftlens.results.configurations import CONFIGURATIONS

TABLES = ("task_items", "parameter_count", "cost")  # of the probes that this is made of


@dataclass(frozen=True)
class BestConfiguration:
    """A configuration at its best rate.

    Attributes:
        name: method and hyperparameters, without the learning rate.
        row: what is known of it, by the names of `rank_chart`'s columns.
        right: which of its answers were, 0 or 1, shape (seeds, items).
    """

    name: str
    row: dict[str, Any]
    right: pd.DataFrame

    @property
    def size(self) -> int:
        """Trainable parameters."""
        return self.row["trainable_parameters"]

    def pairs_with(self, other: "BestConfiguration") -> bool:
        """Whether both have the same seeds and test examples."""
        one, two = self.right, other.right
        return one.index.equals(two.index) and one.columns.equals(two.columns)

    def minus(self, other: "BestConfiguration", name: str) -> dict[str, float | None]:
        """A paired difference with its interval; none where seeds or examples are not the same."""
        if not self.pairs_with(other):
            return {}
        difference = self.right.to_numpy() - other.right.to_numpy()
        interval = crossed_interval(difference, np.random.default_rng(0))
        return {
            name: difference.mean(),
            f"{name}_ci_low": interval.low,
            f"{name}_ci_high": interval.high,
        }


def best_configurations(tables: Mapping[str, pd.DataFrame]) -> list[BestConfiguration]:
    """Every configuration with answers to choose from, a method's by size.

    Args:
        tables: of the probes in `TABLES`, and `configurations`.
    """
    items = tables["task_items"].dropna(subset=["chosen"])
    if items.empty:
        return []
    counted = tables["parameter_count"][["run", "rank", "trainable_parameters", "adapter_bytes"]]
    runs = tables["cost"].merge(counted, on="run")
    groups = runs.groupby(runs["configuration"].map(sweep_names(tables)), sort=False)
    found = [_setting(str(name), group, items) for name, group in groups]
    methods = list(dict.fromkeys(runs["method"]))
    return sorted(found, key=lambda one: (methods.index(one.row["method"]), one.size))


def sweep_names(tables: Mapping[str, pd.DataFrame]) -> pd.Series:
    """Name of each configuration's sweep, by the configuration's name."""
    return tables[CONFIGURATIONS].set_index("configuration")["sweep"]


def _setting(name: str, runs: pd.DataFrame, items: pd.DataFrame) -> BestConfiguration:
    rates = runs.groupby("learning_rate", dropna=False)["validation_accuracy"].mean()
    best = runs[runs["learning_rate"] == rates.idxmax()] if rates.notna().any() else runs
    own = items[items["run"].isin(best["run"])]
    right = (own["chosen"] == own["correct"]).astype(float)
    wide = right.groupby([own["seed"], own["item"]]).mean().unstack()
    both = crossed_interval(wide, np.random.default_rng(0))
    seeds = few_interval(wide.mean(axis=1).to_numpy(), (0, 1))
    first = best.iloc[0]
    row = {
        "configuration": name,
        "method": first["method"],
        "rank": first["rank"],
        "learning_rate": first["learning_rate"],
        "n_learning_rates": runs["learning_rate"].nunique(),
        "trainable_parameters": int(first["trainable_parameters"]),
        "adapter_bytes": int(first["adapter_bytes"]),
        "step_seconds": best["step_seconds"].median(),
        "peak_memory_bytes": best["peak_memory_bytes"].median(),
        "validation_accuracy": rates.max(),
        "accuracy": wide.to_numpy().mean(),
        "ci_low": both.low,
        "ci_high": both.high,
        "seeds_ci_low": seeds.low,
        "seeds_ci_high": seeds.high,
        "n_seeds": wide.shape[0],
        "n_items": wide.shape[1],
    }
    return BestConfiguration(name, row, wide)
