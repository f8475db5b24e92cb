"""Columns of a table that hold an estimate: value, interval, standard error, variance components.

With the components of a pilot the size of a study can be planned.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from scipy.stats import norm

from peftlens.numerics.mixed_model import LEVEL, Estimate, VarianceComponents
from peftlens.results.table import Column

_PARTS = ("seed_variance", "item_variance", "residual_variance", "seed_contrasts")


def noise_columns(prefix: str = "", unit: str = "1") -> tuple[Column, ...]:
    """Describe the columns of `noise`.

    Args:
        prefix: first part of the columns' names.
        unit: unit of the estimate.
    """
    square = unit if unit == "1" else f"({unit})²"
    return (
        Column(f"{prefix}standard_error", "standard error of the difference", unit),
        Column(f"{prefix}degrees_of_freedom", "degrees of freedom (Satterthwaite)", "1"),
        Column(f"{prefix}seed_variance", "variance of the seeds' effects on it", square),
        Column(f"{prefix}item_variance", "variance of the items' effects on it", square),
        Column(f"{prefix}residual_variance", "variance of what remains", square),
        Column(
            f"{prefix}seed_contrasts", "number of contrasts over which seed_variance is pooled", "1"
        ),
    )


def noise(estimate: Estimate, prefix: str = "") -> dict[str, float | None]:
    """Return an estimate's standard error and variance components, by column."""
    one = estimate.components
    parts = (None,) * 4 if one is None else (one.seed, one.item, one.residual, one.contrasts)
    return {
        f"{prefix}standard_error": estimate.standard_error,
        f"{prefix}degrees_of_freedom": estimate.degrees_of_freedom,
    } | {f"{prefix}{name}": part for name, part in zip(_PARTS, parts, strict=True)}


def estimate_of(row: Mapping[Any, Any], name: str, prefix: str = "") -> Estimate:
    """Return the estimate in a row.

    Tables of older versions have no standard error; then it is that of a normal distribution with
    the same interval.

    Args:
        row: row of a table.
        name: column of the value; those of its interval end in _ci_low and _ci_high.
        prefix: first part of the names of the other columns.
    """
    low, high = (_number(row.get(f"{name}_ci_{end}")) for end in ("low", "high"))
    error = _number(row.get(f"{prefix}standard_error"))
    freedom = _number(row.get(f"{prefix}degrees_of_freedom"))
    if error is None and low is not None and high is not None:
        error, freedom = (high - low) / (2 * float(norm.ppf((1 + LEVEL) / 2))), float("inf")
    parts = [_number(row.get(f"{prefix}{part}")) for part in _PARTS]
    known = [one for one in parts if one is not None]
    return Estimate(
        value=float(row[name]),
        low=low,
        high=high,
        degrees_of_freedom=freedom,
        standard_error=error,
        components=VarianceComponents(*known) if len(known) == len(parts) else None,
    )


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)
