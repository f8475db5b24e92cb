"""Forgetting of each method at equal accuracy on its task.

A method that barely learns barely forgets, so methods are compared where their accuracy on
validation examples first reaches the same level. Between two saved steps, accuracy and forgetting
are interpolated linearly. Levels lie between the untrained model's accuracy and the highest one
reached by every method at some learning rate. Of a method's learning rates at which every seed
reaches the level, the one with the least forgetting counts. It is selected on the reported numbers,
so a method with more learning rates has a small advantage.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from peftlens.numerics.resampling import few_interval
from peftlens.results.sweep import sweep_names
from peftlens.results.table import Chart, Column

INPUTS = ("learning", "forgetting")
VERSION = 3
REFERENCE = "full"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        levels: validation accuracies to compare at; by default the highest accuracy that all
            methods reach, and three equally spaced levels between it and the untrained model's.
    """

    levels: tuple[float, ...] = ()


COLUMNS = (
    Column("configuration", "method and its hyperparameters, without the learning rate"),
    Column("method", "name of the method"),
    Column("level", "validation accuracy of the comparison", "1"),
    Column("suite", "name of the suite"),
    Column("learning_rate", "learning rate with the least forgetting at this level"),
    Column("forgetting", "increase of the loss on text at the level, mean over seeds",
           "nats per token", "lower"),
    Column("ci_low", "lower end of its 95 % interval over seeds (Student's t)", "nats per token"),
    Column("ci_high", "upper end of this interval", "nats per token"),
    Column("accuracy_change", "change of accuracy on questions, mean over seeds", "1",
           "higher"),
    Column("accuracy_ci_low", "lower end of its 95 % interval over seeds", "1"),
    Column("accuracy_ci_high", "upper end of this interval", "1"),
    Column("diff_vs_full", "forgetting minus that of full fine-tuning with the same seeds",
           "nats per token", "lower"),
    Column("diff_vs_full_ci_low", "lower end of its paired 95 % interval over seeds",
           "nats per token"),
    Column("diff_vs_full_ci_high", "upper end of this interval", "nats per token"),
    Column("n_seeds", "number of runs at the level; 0 if no learning rate qualifies"),
    Column("n_learning_rates", "number of learning rates"),
)  # fmt: skip
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="forgetting",
        title="Increase of the loss on text at equal validation accuracy",
        low="ci_low",
        high="ci_high",
        each="level",
    ),
)


def combine(tables: Mapping[str, pd.DataFrame], config: Config) -> pd.DataFrame:
    """Return one row per configuration, level and suite; none without checkpoints."""
    learning = tables["learning"].dropna(subset="accuracy")
    learning = learning[learning.groupby("run")["step"].transform("nunique") > 1]
    columns = [column.name for column in COLUMNS]
    if learning.empty:
        return pd.DataFrame(columns=columns)
    learning = learning.assign(configuration=learning["configuration"].map(sweep_names(tables)))
    levels = config.levels or _levels(learning)
    rows = _with_diff_vs_full(list(_rows(learning, tables["forgetting"], levels)))
    frame = pd.DataFrame(rows).reindex(columns=columns)
    return frame.sort_values(["suite", "level"], kind="stable", ignore_index=True)


def _levels(learning: pd.DataFrame) -> tuple[float, ...]:
    first = learning[learning["step"] == learning.groupby("run")["step"].transform("min")]
    low = float(first["accuracy"].mean())
    best = learning.groupby(["configuration", "learning_rate", "seed"])["accuracy"].max()
    reached = best.groupby(["configuration", "learning_rate"]).min().groupby("configuration").max()
    top = float(reached.min())
    shares = (0.25, 0.5, 0.75, 1.0) if top > low else (1.0,)
    # rounded down, so that all methods reach the last level
    return tuple(math.floor(1e4 * (low + share * (top - low)) + 1e-6) / 1e4 for share in shares)


def crossing(accuracy: np.ndarray, level: float) -> tuple[int, float] | None:
    """Find the first crossing of a level by a curve, as an index and a fraction.

    Args:
        accuracy: accuracy at the saved steps, shape (n,).
        level: accuracy to reach.

    Returns:
        Index i and fraction s of the crossing at i + s, or None without a crossing.
    """
    above = np.flatnonzero(accuracy >= level)
    if not len(above):
        return None
    at = int(above[0])
    if at == 0:
        return 0, 0.0
    before, after = accuracy[at - 1], accuracy[at]
    return at - 1, float((level - before) / (after - before))


def _rows(
    learning: pd.DataFrame, forgetting: pd.DataFrame, levels: tuple[float, ...]
) -> Iterator[dict[str, Any]]:
    measured = ["forgetting", "accuracy_change"]
    both = learning[
        ["run", "configuration", "method", "seed", "step", "accuracy", "learning_rate"]
    ].merge(forgetting[["run", "step", "suite", *measured]], on=["run", "step"])
    names = ["configuration", "method", "suite"]
    for (configuration, method, suite), group in both.groupby(names, sort=False):
        row = {"configuration": configuration, "method": method, "suite": suite}
        for level in levels:
            yield row | {"level": level} | _best_rate(group, level, measured)


def _best_rate(group: pd.DataFrame, level: float, measured: list[str]) -> dict[str, Any]:
    """Select the learning rate with the least forgetting, with the values of every seed."""
    n_seeds, candidates = group["seed"].nunique(), []
    for rate, runs in group.groupby("learning_rate"):
        at = [
            _at_level(run.sort_values("step"), level, measured) for _, run in runs.groupby("seed")
        ]
        if len(at) == n_seeds and all(one is not None for one in at):
            candidates.append(
                (rate, pd.DataFrame(at, index=pd.Index(sorted(runs["seed"].unique()))))
            )
    row = {"n_learning_rates": group["learning_rate"].nunique(), "n_seeds": 0}
    if not candidates:
        return row
    texts = candidates[0][1]["forgetting"].notna().all()
    rate, values = min(
        candidates,
        key=lambda one: one[1]["forgetting"].mean() if texts else -one[1]["accuracy_change"].mean(),
    )
    row |= {"learning_rate": rate, "n_seeds": n_seeds, "values": values["forgetting"]}
    for name, prefix in zip(measured, ("", "accuracy_"), strict=True):
        if values[name].notna().all():
            interval = few_interval(values[name])
            row |= {name: values[name].mean()}
            row |= {f"{prefix}ci_low": interval.low, f"{prefix}ci_high": interval.high}
    return row


def _at_level(run: pd.DataFrame, level: float, measured: list[str]) -> dict[str, float] | None:
    position = crossing(run["accuracy"].to_numpy(float), level)
    if position is None:
        return None
    at, share = position
    after = min(at + 1, len(run) - 1)
    values = run[measured].astype(float).to_numpy()
    return dict(zip(measured, values[at] + share * (values[after] - values[at]), strict=True))


def _with_diff_vs_full(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add the difference from full fine-tuning at the same level, paired by seed."""
    full = {(row["suite"], row["level"]): row["values"] for row in rows
            if row["method"] == REFERENCE and "values" in row}  # fmt: skip
    for row in rows:
        reference = full.get((row["suite"], row["level"]))
        if row["method"] == REFERENCE or reference is None or "values" not in row:
            continue
        difference = (row["values"] - reference).dropna()
        if len(difference):
            interval = few_interval(difference)
            row |= {"diff_vs_full": difference.mean()}
            row |= {"diff_vs_full_ci_low": interval.low, "diff_vs_full_ci_high": interval.high}
    return rows
