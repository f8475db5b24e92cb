"""What each method forgets where it has learned its task equally well.

A method that barely learns barely forgets, so methods are compared where their accuracy on
validation examples crosses the same level on its way up. Between two saved steps both are taken to
change in a straight line: accuracy to find the crossing, forgetting to read it there. Levels lie
between the untrained model's accuracy and the highest that every method reaches at some learning
rate. Of a method's rates the one that forgets least counts, of those at which every seed reaches
the level: chosen on the same numbers, so a method with more rates has a small advantage.
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
        levels: accuracies on validation examples; by default a quarter, a half and three quarters
            of the way from the untrained model's to the highest that all methods reach, and that.
    """

    levels: tuple[float, ...] = ()


COLUMNS = (
    Column("configuration", "method and its hyperparameters, without the learning rate"),
    Column("method", "name of the method"),
    Column("level", "accuracy on validation examples at which methods are compared", "1"),
    Column("suite", "what was asked of the model"),
    Column("learning_rate", "of the rates the one that forgets least at this level"),
    Column("forgetting", "rise of the loss on text at the level, mean over seeds",
           "nats per token", "lower"),
    Column("ci_low", "lower end of its 95 % interval over seeds (Student's t)", "nats per token"),
    Column("ci_high", "upper end", "nats per token"),
    Column("accuracy_change", "questions answered right, tuned − base, mean over seeds", "1",
           "higher"),
    Column("accuracy_ci_low", "lower end of its 95 % interval over seeds", "1"),
    Column("accuracy_ci_high", "upper end", "1"),
    Column("diff_vs_full", "forgetting − that of full fine-tuning with the same seeds",
           "nats per token", "lower"),
    Column("diff_vs_full_ci_low", "lower end of its paired 95 % interval over seeds",
           "nats per token"),
    Column("diff_vs_full_ci_high", "upper end", "nats per token"),
    Column("n_seeds", "runs that reached the level; none at any rate: no number"),
    Column("n_learning_rates", "learning rates that were tried"),
)  # fmt: skip
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="forgetting",
        title="Rise of the loss on text where validation accuracy reaches",
        low="ci_low",
        high="ci_high",
        each="level",
    ),
)


def combine(tables: Mapping[str, pd.DataFrame], config: Config) -> pd.DataFrame:
    """A row for each setting, level and suite; no row where nothing was learned."""
    learning = tables["learning"].dropna(subset="accuracy")
    learning = learning[learning.groupby("run")["step"].transform("nunique") > 1]
    columns = [column.name for column in COLUMNS]
    if learning.empty:
        return pd.DataFrame(columns=columns)
    learning = learning.assign(configuration=learning["configuration"].map(sweep_names(tables)))
    levels = config.levels or _levels(learning)
    rows = _beside_full(list(_rows(learning, tables["forgetting"], levels)))
    frame = pd.DataFrame(rows).reindex(columns=columns)
    return frame.sort_values(["suite", "level"], kind="stable", ignore_index=True)


def _levels(learning: pd.DataFrame) -> tuple[float, ...]:
    first = learning[learning["step"] == learning.groupby("run")["step"].transform("min")]
    low = float(first["accuracy"].mean())
    best = learning.groupby(["configuration", "learning_rate", "seed"])["accuracy"].max()
    reached = best.groupby(["configuration", "learning_rate"]).min().groupby("configuration").max()
    top = float(reached.min())
    shares = (0.25, 0.5, 0.75, 1.0) if top > low else (1.0,)
    # rounded down, or nobody would reach the last
    return tuple(math.floor(1e4 * (low + share * (top - low)) + 1e-6) / 1e4 for share in shares)


def crossing(accuracy: np.ndarray, level: float) -> tuple[int, float] | None:
    """Where a curve first reaches a level: the step's index before, and the share of the way on.

    Args:
        accuracy: at the saved steps, shape (n,).
        level: to be reached.

    Returns:
        Index i and share s: it is reached at i + s. None if it never is.
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
    for (setting, method, suite), group in both.groupby(names, sort=False):
        for level in levels:
            known = {"configuration": setting, "method": method, "suite": suite, "level": level}
            yield known | _best_rate(group, level, measured)


def _best_rate(group: pd.DataFrame, level: float, measured: list[str]) -> dict[str, Any]:
    """The rate that forgets least, with what it forgets for every seed."""
    n_seeds, found = group["seed"].nunique(), []
    for rate, runs in group.groupby("learning_rate"):
        at = [
            _at_level(run.sort_values("step"), level, measured) for _, run in runs.groupby("seed")
        ]
        if len(at) == n_seeds and all(one is not None for one in at):
            found.append((rate, pd.DataFrame(at, index=pd.Index(sorted(runs["seed"].unique())))))
    about = {"n_learning_rates": group["learning_rate"].nunique(), "n_seeds": 0}
    if not found:
        return about
    texts = found[0][1]["forgetting"].notna().all()
    rate, values = min(
        found,
        key=lambda one: one[1]["forgetting"].mean() if texts else -one[1]["accuracy_change"].mean(),
    )
    about |= {"learning_rate": rate, "n_seeds": n_seeds, "values": values["forgetting"]}
    for name, prefix in zip(measured, ("", "accuracy_"), strict=True):
        if values[name].notna().all():
            interval = few_interval(values[name])
            about |= {name: values[name].mean()}
            about |= {f"{prefix}ci_low": interval.low, f"{prefix}ci_high": interval.high}
    return about


def _at_level(run: pd.DataFrame, level: float, measured: list[str]) -> dict[str, float] | None:
    found = crossing(run["accuracy"].to_numpy(float), level)
    if found is None:
        return None
    at, share = found
    after = min(at + 1, len(run) - 1)
    values = run[measured].astype(float).to_numpy()
    return dict(zip(measured, values[at] + share * (values[after] - values[at]), strict=True))


def _beside_full(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With the difference to full fine-tuning at the same level, paired by seed."""
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
