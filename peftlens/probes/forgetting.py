"""Forgetting: change of loss on general text and of accuracy on general questions by training.

The baseline is the base model itself. Both models are scored in the same batches, so the forgetting
of a method that starts as the identity is exactly zero at step 0. Padding, virtual tokens and the
first token of a text, which is not predicted, are excluded. Differences are paired by item: the
interval is a bootstrap over the suite's items, and does not include the variance between seeds.
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
VERSION = 4


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        suites: names of tasks with a test split: built in, file:PATH or hub:org/name.
        items: maximum number of items per suite, in the random order of its split; 0 for all.
        suite_options: options of a suite's task by name, such as the columns of a file.
    """

    suites: tuple[str, ...] = SUITES
    items: int = 150
    suite_options: dict[str, dict[str, Any]] = field(default_factory=dict)


COLUMNS = (
    Column("step", "number of optimizer steps taken"),
    Column("suite", "name of the suite: general text, or questions with candidate answers"),
    Column("base_loss", "loss of the base model on texts or right answers", "nats per token",
           "lower"),
    Column("loss", "loss of the tuned model on texts or right answers", "nats per token", "lower"),
    Column("forgetting", "loss minus base_loss, on texts", "nats per token", "lower"),
    Column("ci_low", "lower end of the paired 95 % interval over items", "nats per token"),
    Column("ci_high", "upper end of the paired 95 % interval over items", "nats per token"),
    Column("base_accuracy", "share of questions answered right by the base", "1", "higher"),
    Column("accuracy", "share of questions answered right by the tuned model", "1", "higher"),
    Column("accuracy_change", "accuracy minus base_accuracy", "1", "higher"),
    Column("accuracy_ci_low", "lower end of its paired 95 % interval over questions", "1"),
    Column("accuracy_ci_high", "upper end of this interval", "1"),
    Column("base_accuracy_per_byte", "base accuracy by log-probability per byte", "1", "higher"),
    Column("accuracy_per_byte", "tuned accuracy by log-probability per byte", "1", "higher"),
    Column("kl", "KL(base || tuned) of the next token", "nats per token", "lower"),
    Column("kl_ci_low", "lower end of its 95 % interval over texts", "nats per token"),
    Column("kl_ci_high", "upper end of this interval", "nats per token"),
    Column("n_items", "number of texts or questions"),
    Column("n_tokens", "number of predicted tokens; missing for questions"),
)  # fmt: skip
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="forgetting",
        title="Forgetting: increase of the loss on general text (bars: 95 % interval over texts)",
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
        title="Increase of the loss on general text during training",
        low="ci_low",
        high="ci_high",
        each="suite",
        by="configuration",
    ),
)


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """Return one row per saved step and suite."""
    base = context.base_model(run)
    suites = [suite(base, name, config.suite_options.get(name, {}), config.items or None)
              for name in config.suites]  # fmt: skip
    references = [reference(base, one) for one in suites]
    rows = []
    for step in run.steps:
        with context.open_run(run, step) as model:
            tuned = [scores(model, base, *pair) for pair in zip(suites, references, strict=True)]
        rows += [
            {"step": step, "suite": one.name} | _row(before.scores, after)
            for one, before, after in zip(suites, references, tuned, strict=True)
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
    """Compute a mean over tokens with its interval over items, as columns."""
    interval: Interval = ratio_interval(values, tokens, np.random.default_rng(0))
    mean = values.sum() / tokens.sum()
    return {name: mean, f"{prefix}ci_low": interval.low, f"{prefix}ci_high": interval.high}
