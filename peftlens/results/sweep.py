"""Comparison of configurations at their best learning rates.

The best rate of a configuration has the highest mean accuracy on validation examples; one rate for
all configurations would favor some of them. Configurations are scored on test examples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from peftlens.numerics.resampling import crossed_interval, few_interval
from peftlens.results.configurations import CONFIGURATIONS

TABLES = ("task_items", "parameter_count", "cost")  # tables of probes that are needed


@dataclass(frozen=True)
class BestConfiguration:
    """Results of a configuration at its best learning rate.

    Attributes:
        name: method and hyperparameters, without the learning rate.
        row: values of the columns of `rank_chart`, by name.
        right: correctness of its answers, 0 or 1, shape (seeds, items).
    """

    name: str
    row: dict[str, Any]
    right: pd.DataFrame

    @property
    def size(self) -> int:
        """Number of trainable parameters."""
        return self.row["trainable_parameters"]

    def pairs_with(self, other: "BestConfiguration") -> bool:
        """Return whether both have the same seeds and test examples."""
        ours, theirs = self.right, other.right
        return ours.index.equals(theirs.index) and ours.columns.equals(theirs.columns)

    def minus(self, other: "BestConfiguration", name: str) -> dict[str, float | None]:
        """Compute the paired difference in accuracy, with interval; empty if they do not pair."""
        if not self.pairs_with(other):
            return {}
        difference = self.right.to_numpy() - other.right.to_numpy()  # (seeds, items)
        interval = crossed_interval(difference, np.random.default_rng(0))
        return {
            name: difference.mean(),
            f"{name}_ci_low": interval.low,
            f"{name}_ci_high": interval.high,
        }


def best_configurations(tables: Mapping[str, pd.DataFrame]) -> list[BestConfiguration]:
    """Return all configurations of multiple-choice tasks, grouped by method and sorted by size.

    Args:
        tables: tables of the probes in `TABLES`, and `configurations`.
    """
    items = tables["task_items"].dropna(subset=["chosen"])
    if items.empty:
        return []
    counted = tables["parameter_count"][["run", "rank", "trainable_parameters", "adapter_bytes"]]
    runs = tables["cost"].merge(counted, on="run")
    groups = runs.groupby(runs["configuration"].map(sweep_names(tables)), sort=False)
    best = [_best_configuration(str(name), group, items) for name, group in groups]
    methods = list(dict.fromkeys(runs["method"]))
    return sorted(best, key=lambda one: (methods.index(one.row["method"]), one.size))


def sweep_names(tables: Mapping[str, pd.DataFrame]) -> pd.Series:
    """Return the names of sweeps, by the configuration's name."""
    return tables[CONFIGURATIONS].set_index("configuration")["sweep"]


def _best_configuration(name: str, runs: pd.DataFrame, items: pd.DataFrame) -> BestConfiguration:
    rates = runs.groupby("learning_rate", dropna=False)["validation_accuracy"].mean()
    best = runs[runs["learning_rate"] == rates.idxmax()] if rates.notna().any() else runs
    answers = items[items["run"].isin(best["run"])]
    is_right = (answers["chosen"] == answers["correct"]).astype(float)
    right = is_right.groupby([answers["seed"], answers["item"]]).mean().unstack()  # (seeds, items)
    both = crossed_interval(right, np.random.default_rng(0))
    seeds = few_interval(right.mean(axis=1).to_numpy(), (0, 1))
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
        "accuracy": right.to_numpy().mean(),
        "ci_low": both.low,
        "ci_high": both.high,
        "seeds_ci_low": seeds.low,
        "seeds_ci_high": seeds.high,
        "n_seeds": right.shape[0],
        "n_items": right.shape[1],
    }
    return BestConfiguration(name, row, right)
