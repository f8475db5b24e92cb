"""Comparison of configurations at their best learning rates.

The best rate of a configuration has the highest mean accuracy on validation examples; one rate for
all configurations would favor some of them. Configurations are scored on test examples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pandas as pd

from peftlens.numerics.mixed_model import Estimate, crossed_estimate, pooled_seeds
from peftlens.numerics.resampling import few_interval
from peftlens.results.configurations import CONFIGURATIONS
from peftlens.results.item_scores import item_scores

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

    @property
    def validated(self) -> float:
        """Validation accuracy; -1, below all others, where the task has none."""
        accuracy = self.row["validation_accuracy"]
        return -1.0 if pd.isna(accuracy) else float(accuracy)


def are_paired(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Return whether scores (seeds, items) of two configurations have the same seeds and items."""
    return one.index.equals(other.index) and one.columns.equals(other.columns)


def paired_differences(
    scores: Mapping[str, pd.DataFrame], methods: Mapping[str, str]
) -> dict[tuple[str, str], Estimate]:
    """Estimate the difference of every ordered pair of configurations with equal seeds and items.

    Pairs of one method share the estimate of how much seeds vary. Pairs of different methods each
    have their own: soft prompts vary more from seed to seed than LoRAs, and a shared estimate would
    make their intervals too narrow.

    Args:
        scores: scores of each configuration, shape (seeds, items).
        methods: method of each configuration.
    """
    pairs = [pair for pair in combinations(scores, 2) if are_paired(*(scores[k] for k in pair))]
    values = {(a, b): scores[a].to_numpy() - scores[b].to_numpy() for a, b in pairs}
    alike: dict[str, list[tuple[str, str]]] = {}
    for a, b in pairs:
        if methods[a] == methods[b]:
            alike.setdefault(methods[a], []).append((a, b))
    seeds = {}
    for group in alike.values():
        shapes = {values[pair].shape for pair in group}
        names = {name for pair in group for name in pair}
        # unless all of them are paired with each other, they are no single design
        if len(shapes) == 1 and len(group) == len(names) * (len(names) - 1) / 2:
            pooled = pooled_seeds([values[pair] for pair in group], len(names))
            seeds |= dict.fromkeys(group, pooled)
    found = {pair: crossed_estimate(values[pair], seed=seeds.get(pair)) for pair in pairs}
    return found | {(b, a): -estimate for (a, b), estimate in found.items()}


def interval_columns(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    """Return an estimate and its interval as columns; empty without an estimate."""
    if estimate is None:
        return {}
    return {name: estimate.value, f"{name}_ci_low": estimate.low, f"{name}_ci_high": estimate.high}


def best_configurations(tables: Mapping[str, pd.DataFrame]) -> list[BestConfiguration]:
    """Return all configurations of tasks with a score, grouped by method and sorted by size.

    Args:
        tables: tables of the probes in `TABLES`, and `configurations`.
    """
    items = tables["task_items"]
    items = items.assign(score=item_scores(items)).dropna(subset=["score"])
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


def kept_sweeps(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return what keeps each sweep near its base, and the sweep that differs in nothing else.

    Args:
        tables: tables of a study, with `configurations`.

    Returns:
        Columns keep, the kind, and plain, the name of the other sweep, indexed by the names of
        sweeps; both are missing for sweeps without `training.keep`.
    """
    rows = tables[CONFIGURATIONS].drop_duplicates("sweep").set_index("sweep")
    own = [name for name in rows if str(name) == "keep" or str(name).startswith("keep_")]
    others = rows.columns.difference([*own, "configuration", "learning_rate"])
    values = ["|".join(map(str, row)) for row in rows[others].itertuples(index=False)]
    alike = pd.Series(values, rows.index, dtype=object)
    kinds = rows.get("keep", pd.Series(None, rows.index, dtype=object))
    plain = {key: name for name, key in alike[kinds.isna()].items()}
    found = pd.DataFrame({"keep": kinds, "plain": alike.map(plain)}, dtype=object)
    return found.where(found["keep"].notna(), None)


def _best_configuration(name: str, runs: pd.DataFrame, items: pd.DataFrame) -> BestConfiguration:
    rates = runs.groupby("learning_rate", dropna=False)["validation_accuracy"].mean()
    best = runs[runs["learning_rate"] == rates.idxmax()] if rates.notna().any() else runs
    answers = items[items["run"].isin(best["run"])]
    right = answers.groupby(["seed", "item"])["score"].mean().unstack()  # (seeds, items)
    both = crossed_estimate(right)
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
        "ci_low": None if both.low is None else max(both.low, 0.0),
        "ci_high": None if both.high is None else min(both.high, 1.0),
        "seeds_ci_low": seeds.low,
        "seeds_ci_high": seeds.high,
        "n_seeds": right.shape[0],
        "n_items": right.shape[1],
    }
    return BestConfiguration(name, row, right)
