"""Configurations that differ only where a comparison allows it, by their hyperparameters.

Two methods have different hyperparameters. They are comparable if they agree in those that both
have, such as the rank, the adapted layers and all options of the training.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

from peftlens.results.configurations import CONFIGURATIONS

_NAMES = frozenset({"method", "configuration", "sweep", "learning_rate"})


def sweep_values(tables: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, Any]]:
    """Return the hyperparameters of each configuration, by its name without the rate."""
    return _by_name(tables[CONFIGURATIONS].drop_duplicates("sweep"), "sweep")


def charted(tables: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, Any]]:
    """Return the rows of `rank_chart` by the configuration's name, without the rate."""
    return _by_name(tables["rank_chart"], "configuration")


def _by_name(frame: pd.DataFrame, column: str) -> dict[str, dict[str, Any]]:
    rows = frame.to_dict("records")
    return {str(row[column]): {str(key): value for key, value in row.items()} for row in rows}


def alike(one: Mapping[str, Any], other: Mapping[str, Any], ignored: Collection[str] = ()) -> bool:
    """Return whether two configurations agree in all hyperparameters that both have.

    Args:
        one: hyperparameters by name, as in a row of `configurations`.
        other: those of the other.
        ignored: names of hyperparameters that may differ, beside the method and its rate.
    """
    shared = (one.keys() & other.keys()) - _NAMES - {*ignored}
    return all(pd.isna(one[key]) or pd.isna(other[key]) or one[key] == other[key] for key in shared)


def rows_per_step(values: Mapping[str, Any]) -> float:
    """Return the number of training examples in an optimizer step; NaN if it is not recorded."""
    batch, passes = values.get("batch_size"), values.get("gradient_accumulation_steps")
    if batch is None or pd.isna(batch):
        return float("nan")
    return float(batch) * (1.0 if passes is None or pd.isna(passes) else float(passes))


def training_examples(values: Mapping[str, Any]) -> float:
    """Return the number of different training examples that a run reads; NaN if not recorded.

    These are the examples of its steps, at most those that the option `split` of the task leaves.
    """
    steps = values.get("max_steps")
    if steps is None or pd.isna(steps):
        return float("nan")
    seen, split = rows_per_step(values) * float(steps), values.get("split")
    limit = json.loads(split).get("max_train") if isinstance(split, str) else None
    return seen if limit is None else min(seen, float(limit))
