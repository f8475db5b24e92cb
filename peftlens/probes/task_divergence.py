"""Divergence on the new task: KL(base || tuned) of the right answers' tokens, at each saved step.

How far training has moved the model's outputs for the inputs of the task it learned. By the claim
known as RL's razor this divergence predicts forgetting, whatever the method: `razor` tests it.

Source: Shenfeld et al. 2025, arXiv:2509.04259, with the right answers of test examples in place of
sampled ones.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from peftlens.adapters.run_context import RunContext
from peftlens.data.collate import Collator
from peftlens.diffing.token_divergence import BaseReading, TokenDivergence, token_divergence
from peftlens.errors import require
from peftlens.evaluation.retention import MAX_LENGTH
from peftlens.numerics.resampling import ratio_interval
from peftlens.results.table import Chart, Column
from peftlens.runs.trained_model import TrainedModel
from peftlens.tasks import task_of

REQUIRES = frozenset()
VERSION = 1
OPTIONAL = True  # a pass over test examples for each saved step


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        items: maximum number of test examples.
    """

    items: int = 100


COLUMNS = (
    Column("step", "number of optimizer steps taken", "steps"),
    Column("task_kl", "KL(base || tuned) per token of the right answers", "nats", "lower"),
    Column("ci_low", "lower end of its 95 % bootstrap interval over examples", "nats"),
    Column("ci_high", "upper end of this interval", "nats"),
    Column("n_items", "number of test examples"),
    Column("n_tokens", "number of tokens of their right answers"),
)
CHARTS = (
    Chart(
        "line",
        x="step",
        y="task_kl",
        title="Divergence from the base on the new task",
        low="ci_low",
        high="ci_high",
        by="configuration",
    ),
)


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """Return one row per saved step."""
    require("items", config.items, 1)
    base = context.base_model(run)
    base.require_text()  # a head for a task predicts no tokens
    examples = task_of(run).splits["test"][: config.items]
    items, _ = Collator.of(base, MAX_LENGTH).items(examples)
    reading = BaseReading.of(base, [item.rows[item.correct] for item in items])
    rows = []
    for step in run.steps:
        with context.open_run(run, step) as model:
            found = token_divergence(model, base, reading)
        rows.append({"step": step} | _mean(found, len(items)))
    return pd.DataFrame(rows, columns=[column.name for column in COLUMNS])


def _mean(found: TokenDivergence, items: int) -> dict[str, Any]:
    """Compute the mean over tokens, with its interval over the examples."""
    n = len(found.kl)
    sums, counts = (np.bincount(found.row, w, items) for w in (found.kl, np.ones(n)))
    interval = ratio_interval(sums, counts, np.random.default_rng(0))
    return {
        "task_kl": float(found.kl.sum()) / n, "ci_low": interval.low, "ci_high": interval.high,
        "n_items": items, "n_tokens": n,
    }  # fmt: skip
