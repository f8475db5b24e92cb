"""Forgetting of each method where it has learned as much of its task as the others.

A method that barely learns barely forgets, so methods are compared where their fit of the
validation examples first reaches the same level: accuracy, or with `match = "loss"` loss. The curve
of a run over its saved steps is smoothed by isotonic regression, so that it never gets worse, and
between two saved steps fit and forgetting are interpolated linearly; a run that is past a level at
its first saved step, which is not the untrained model, has no value there. Levels lie between the
untrained model's fit, or the best one of a first saved step, and the best one that every method
reaches at some learning rate.

Of a method's learning rates at which every seed reaches the level, the one with the best fit at the
end of training counts. Forgetting has no part in the choice, so a method with more rates has no
advantage. Intervals and p-values are of a mixed model with crossed seeds and items.

Every method is compared with full fine-tuning, and every configuration with `training.keep` with
the same one without.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from peftlens.numerics.mixed_model import Estimate, crossed_estimate
from peftlens.results.estimate_columns import noise, noise_columns
from peftlens.results.item_changes import item_changes
from peftlens.results.sweep import are_paired, kept_sweeps, sweep_names
from peftlens.results.table import Chart, Column

INPUTS = ("learning", "forgetting_items")
VERSION = 7
REFERENCE = "full"
_ROUNDING = 1e-9  # of a mean of accuracies
_PREFIXES = {"forgetting": "", "accuracy_change": "accuracy_"}  # of the columns of intervals


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        match: measure of the fit on the validation examples.
        levels: values of this measure to compare at; by default the best that all methods reach,
            and three equally spaced ones between it and the untrained model's.
    """

    match: Literal["accuracy", "loss"] = "accuracy"
    levels: tuple[float, ...] = ()


COLUMNS = (
    Column("configuration", "method and its hyperparameters, without the learning rate"),
    Column("method", "name of the method"),
    Column("match", "measure of the fit on validation examples: accuracy or loss"),
    Column("level", "value of this measure at the comparison; accuracy 1, loss nats per token"),
    Column("suite", "name of the suite"),
    Column("learning_rate", "learning rate with the best fit at the end of training"),
    Column("forgetting", "increase of the loss on text at the level, mean over seeds",
           "nats per token", "lower"),
    Column("ci_low", "lower end of its 95 % interval over seeds and texts", "nats per token"),
    Column("ci_high", "upper end of this interval", "nats per token"),
    Column("accuracy_change", "change of accuracy on questions, mean over seeds", "1",
           "higher"),
    Column("accuracy_ci_low", "lower end of its 95 % interval over seeds and questions", "1"),
    Column("accuracy_ci_high", "upper end of this interval", "1"),
    Column("diff_vs_full", "forgetting minus that of full fine-tuning with the same seeds and "
           "texts", "nats per token", "lower"),
    Column("diff_vs_full_ci_low", "lower end of its paired 95 % interval over seeds and texts",
           "nats per token"),
    Column("diff_vs_full_ci_high", "upper end of this interval", "nats per token"),
    Column("diff_vs_full_p_value", "two-sided p of no difference, not corrected"),
    *noise_columns("diff_vs_full_", "nats per token"),
    Column("keep", "kind of training.keep; missing without"),
    Column("plain", "the configuration that differs in nothing but training.keep"),
    Column("diff_vs_plain", "forgetting minus that of this configuration with the same seeds and "
           "texts", "nats per token", "lower"),
    Column("diff_vs_plain_ci_low", "lower end of its paired 95 % interval over seeds and texts",
           "nats per token"),
    Column("diff_vs_plain_ci_high", "upper end of this interval", "nats per token"),
    Column("diff_vs_plain_p_value", "two-sided p of no difference, not corrected"),
    *noise_columns("diff_vs_plain_", "nats per token"),
    Column("n_seeds", "number of runs at the level; 0 if no learning rate qualifies"),
    Column("n_items", "number of texts or questions"),
    Column("n_tokens", "number of predicted tokens of the texts"),
    Column("n_checkpoints", "number of saved steps of a run; fewer than 8 make a coarse curve"),
    Column("n_learning_rates", "number of learning rates"),
)  # fmt: skip
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="forgetting",
        title="Increase of the loss on text at equal fit of the task",
        low="ci_low",
        high="ci_high",
        each="level",
    ),
)


def combine(tables: Mapping[str, pd.DataFrame], config: Config) -> pd.DataFrame:
    """Return one row per configuration, level and suite; none without checkpoints."""
    sign = 1 if config.match == "accuracy" else -1  # of the measure, so that more fit is better
    learning = tables["learning"].dropna(subset=[config.match])
    learning = learning[learning.groupby("run")["step"].transform("nunique") > 1]
    rows = []
    if len(learning):
        learning = learning.sort_values(["run", "step"], kind="stable").assign(
            configuration=lambda rows: rows["configuration"].map(sweep_names(tables)),
            fit=lambda rows: sign * rows[config.match].astype(float),
            smooth=lambda rows: rows.groupby("run")["fit"].transform(smoothed),
        )
        names = tables["learning"]["configuration"].map(sweep_names(tables)).unique()
        kept = kept_sweeps(tables)
        levels = tuple(sorted(sign * level for level in config.levels)) or _levels(learning)
        for suite, items in item_changes(tables["forgetting_items"]).groupby("suite"):
            curves = list(_curves(learning, items))
            shared = {"suite": suite, "match": config.match, "n_items": items["item"].nunique()}
            if items["tokens"].notna().all():
                shared["n_tokens"] = items.groupby(["run", "step"])["tokens"].sum().max()
            for level in levels:
                found = [_best_rate([c for c in curves if c.configuration == name], level)
                         | kept.loc[name].to_dict() for name in names]  # fmt: skip
                rows += [one | shared | {"level": sign * level} for one in _compared(found)]
    return pd.DataFrame(rows).reindex(columns=[column.name for column in COLUMNS])


def smoothed(fit: pd.Series) -> NDArray[np.float64]:
    """Return the nearest curve that never gets worse, by isotonic regression.

    Args:
        fit: fit at the saved steps, larger is better, shape (n,).
    """
    return isotonic_regression(fit.to_numpy(float)).x


def _levels(learning: pd.DataFrame) -> tuple[float, ...]:
    first = learning[learning["step"] == learning.groupby("run")["step"].transform("min")]
    untrained = (first["step"] == 0).all()
    low = float(first["fit"].mean() if untrained else first["smooth"].max())
    best = learning.groupby(["configuration", "learning_rate", "seed"])["smooth"].max()
    reached = best.groupby(["configuration", "learning_rate"]).min().groupby("configuration").max()
    top = float(reached.min())
    shares = (0.25, 0.5, 0.75, 1.0) if top > low else (1.0,)
    # rounded down, so that all methods reach the last level
    return tuple(math.floor(1e4 * (low + share * (top - low)) + 1e-6) / 1e4 for share in shares)


def crossing(fit: NDArray[np.float64], level: float) -> tuple[int, float] | None:
    """Find the first crossing of a level by a curve, as an index and a fraction.

    Args:
        fit: fit at the saved steps, larger is better, shape (n,).
        level: fit to reach.

    Returns:
        Index i and fraction s of the crossing at i + s, or None without a crossing.
    """
    above = np.flatnonzero(fit >= level - _ROUNDING)
    if not len(above):
        return None
    at = int(above[0])
    if at == 0:
        return 0, 0.0
    before, after = fit[at - 1], fit[at]
    return at - 1, min(float((level - before) / (after - before)), 1.0)


@dataclass(frozen=True)
class _Curve:
    """Curve of one run over its saved steps.

    Attributes:
        configuration: configuration of the run, without its learning rate.
        method: method of the run.
        learning_rate: peak learning rate.
        seed: seed of the run.
        steps: saved steps, shape (n,).
        fit: smoothed fit, shape (n,).
        end: fit at the end, and its negative loss, which decides between equal ones.
        changes: change of each item of a suite, shape (n, items).
        measure: unit of the changes, a column of the table.
    """

    configuration: str
    method: str
    learning_rate: float
    seed: int
    steps: NDArray[np.int64]
    fit: NDArray[np.float64]
    end: tuple[float, float]
    changes: pd.DataFrame
    measure: str

    def at(self, level: float) -> pd.Series | None:
        """Interpolate the items' changes where the fit crosses the level, if it does."""
        position = crossing(self.fit, level)
        if position is None or (self.steps[0] > 0 and self.fit[0] > level + _ROUNDING):
            return None  # it was crossed before the first saved step, if at all
        index, share = position
        before, after = (self.changes.iloc[i] for i in (index, min(index + 1, len(self.fit) - 1)))
        return before + share * (after - before)


def _curves(learning: pd.DataFrame, items: pd.DataFrame) -> Iterator[_Curve]:
    """Yield the curves of all runs on one suite."""
    measure = next(name for name in _PREFIXES if items[name].notna().all())
    changes = {run: rows.pivot(index="step", columns="item", values=measure)
               for run, rows in items.groupby("run")}  # fmt: skip
    for run, rows in learning.groupby("run", sort=False):
        if run not in changes:
            continue
        steps = rows.set_index("step")
        last = steps.iloc[-1]
        yield _Curve(
            last["configuration"], last["method"], float(last["learning_rate"]), int(last["seed"]),
            steps.index.to_numpy(), steps["smooth"].to_numpy(),
            (float(last["fit"]), -float(last["loss"])), changes[run].loc[steps.index], measure,
        )  # fmt: skip


def _best_rate(curves: list[_Curve], level: float) -> dict[str, Any]:
    """Choose the rate with the best fit at the end, with the changes of every seed and item."""
    if not curves:
        return {}
    rates = {one.learning_rate for one in curves}
    row: dict[str, Any] = {
        "configuration": curves[0].configuration,
        "method": curves[0].method,
        "n_learning_rates": len(rates),
        "n_checkpoints": min(len(one.fit) for one in curves),
        "n_seeds": 0,
    }
    seeds, candidates = {one.seed for one in curves}, {}
    for rate in sorted(rates):
        own = sorted((c for c in curves if c.learning_rate == rate), key=lambda c: c.seed)
        at = {one.seed: changes for one in own if (changes := one.at(level)) is not None}
        if at.keys() == seeds:
            end = tuple(np.mean([one.end for one in own], axis=0))
            candidates.setdefault(end, {"learning_rate": rate, "values": pd.DataFrame(at).T})
    if not candidates:
        return row
    best, measure = candidates[max(candidates)], curves[0].measure
    row |= best | {"n_seeds": len(seeds)}
    return row | _columns(measure, _PREFIXES[measure], crossed_estimate(best["values"]))


def _columns(name: str, prefix: str, found: Estimate) -> dict[str, Any]:
    """Return a mean over seeds and items as columns."""
    return {
        name: found.value,
        f"{prefix}ci_low": found.low,
        f"{prefix}ci_high": found.high,
        f"{prefix}p_value": found.p_value,
    }


def _compared(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Add the differences from other configurations, paired by seed and text, at one level."""
    on_text = [row for row in rows if "forgetting" in row]
    by_name = {row["configuration"]: row["values"] for row in on_text}
    plain = (row for row in on_text if row["method"] == REFERENCE and pd.isna(row["keep"]))
    full = next((row["values"] for row in plain), None)
    for row in on_text:
        others = {"diff_vs_plain": by_name.get(row["plain"])}
        if row["method"] != REFERENCE:
            others["diff_vs_full"] = full
        for name, other in others.items():
            if other is not None and are_paired(row["values"], other):
                found = crossed_estimate(row["values"] - other)
                row |= _columns(name, f"{name}_", found) | noise(found, f"{name}_")
    yield from (row for row in rows if "configuration" in row)
