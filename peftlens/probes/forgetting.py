"""What training cost elsewhere: general text and general questions, before and after.

The baseline is the base model itself. Both are scored in the same batches, so a method that starts
as the identity has forgotten exactly nothing at step 0. Padding and virtual tokens are never
counted, and a text's first token, which nothing predicts, is left out. Differences are paired by
item: the interval is a bootstrap over the suite's items, and says nothing about other seeds.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peftlens.adapters.run_context import RunContext
from peftlens.evaluation.retention import SUITES, Scores, reference, scores, suite
from peftlens.numerics.resampling import Interval, ratio_interval
from peftlens.results.table import Chart, Column
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset()
VERSION = 3


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        suites: tasks whose test split is read: built in, file:PATH or hub:org/name.
        items: of each suite at most, drawn by its split's own seed; 0 takes all.
        suite_options: options of a suite's task, by its name, such as the columns of a file.
    """

    suites: tuple[str, ...] = SUITES
    items: int = 150
    suite_options: dict[str, dict[str, Any]] = field(default_factory=dict)


COLUMNS = (
    Column("step", "training steps so far"),
    Column("suite", "what was asked: general text, or questions with answers to choose from"),
    Column("base_loss", "loss of the base model on its texts, or right answers", "nats per token",
           "lower"),
    Column("loss", "loss of the tuned model on the same", "nats per token", "lower"),
    Column("forgetting", "loss − base_loss on texts", "nats per token", "lower"),
    Column("ci_low", "lower end of the paired 95 % interval over items", "nats per token"),
    Column("ci_high", "upper end of the paired 95 % interval over items", "nats per token"),
    Column("base_accuracy", "share of questions that the base model answers right", "1", "higher"),
    Column("accuracy", "share that the tuned model answers right", "1", "higher"),
    Column("accuracy_change", "accuracy − base_accuracy", "1", "higher"),
    Column("accuracy_ci_low", "lower end of its paired 95 % interval over questions", "1"),
    Column("accuracy_ci_high", "upper end", "1"),
    Column("base_accuracy_per_byte", "of the base, by log-probability per byte", "1", "higher"),
    Column("accuracy_per_byte", "the same of the tuned model", "1", "higher"),
    Column("kl", "KL(base || tuned) of the next token", "nats per token", "lower"),
    Column("kl_ci_low", "lower end of its 95 % interval over texts", "nats per token"),
    Column("kl_ci_high", "upper end", "nats per token"),
    Column("n_items", "texts or questions"),
    Column("n_tokens", "predicted tokens; missing for questions"),
)  # fmt: skip
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="forgetting",
        title="Forgetting: rise of the loss on general text (bars: 95 % interval over texts)",
        low="ci_low",
        high="ci_high",
        each="suite",
    ),
    Chart(
        "points",
        x="configuration",
        y="accuracy_change",
        title="Questions answered right, tuned minus base (bars: 95 % interval over questions)",
        low="accuracy_ci_low",
        high="accuracy_ci_high",
        each="suite",
    ),
    Chart(
        "line",
        x="step",
        y="forgetting",
        title="Rise of the loss on general text while training",
        low="ci_low",
        high="ci_high",
        each="suite",
        by="configuration",
    ),
)


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """A row for each suite at every checkpoint and at the end."""
    base = context.base_model(run)
    asked = [suite(base, name, config.suite_options.get(name, {}), config.items or None)
             for name in config.suites]  # fmt: skip
    known = [reference(base, one) for one in asked]
    rows = []
    for step in run.steps:
        with context.open_run(run, step) as model:
            found = [scores(model, base, *one) for one in zip(asked, known, strict=True)]
        rows += [
            {"step": step, "suite": one.name} | _row(before.scores, after)
            for one, before, after in zip(asked, known, found, strict=True)
        ]
    frame = pd.DataFrame(rows).reindex(columns=[column.name for column in COLUMNS])
    return frame.astype({"n_tokens": "Int64"} | dict.fromkeys(_FLOATS, "Float64"))


_FLOATS = [c.name for c in COLUMNS if c.unit is not None]


def _row(before: Scores, after: Scores) -> dict[str, Any]:
    tokens = before.tokens
    row: dict[str, Any] = {
        "base_loss": before.loss.sum() / tokens.sum(),
        "loss": after.loss.sum() / tokens.sum(),
        "n_items": len(tokens),
    }
    if before.right is not None and after.right is not None:
        row |= {"base_accuracy": before.right.mean(), "accuracy": after.right.mean()}
        row |= _mean("accuracy_change", "accuracy_", after.right - before.right, tokens)
    else:
        row |= {"n_tokens": int(tokens.sum())}
        row |= _mean("forgetting", "", after.loss - before.loss, tokens)
    if before.right_per_byte is not None and after.right_per_byte is not None:
        row["base_accuracy_per_byte"] = before.right_per_byte.mean()
        row["accuracy_per_byte"] = after.right_per_byte.mean()
    if after.kl is not None:
        row |= _mean("kl", "kl_", after.kl, tokens)
    return row


def _mean(name: str, prefix: str, values: NDArray, tokens: NDArray) -> dict[str, float | None]:
    """A mean over tokens with its interval over items."""
    found: Interval = ratio_interval(values, tokens, np.random.default_rng(0))
    mean = values.sum() / tokens.sum()
    return {name: mean, f"{prefix}ci_low": found.low, f"{prefix}ci_high": found.high}
