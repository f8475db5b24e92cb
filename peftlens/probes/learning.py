"""Learning curve: loss and accuracy on validation examples at each saved step.

The examples are the same at every step, so the decrease since the first saved step is paired by
item. It is missing for runs with one saved step.
"""

import numpy as np
import pandas as pd

from peftlens.adapters.run_context import RunContext
from peftlens.data.collate import Collator
from peftlens.evaluation.log_likelihood import choose
from peftlens.numerics.resampling import mean_interval
from peftlens.results.table import Chart, Column
from peftlens.runs.trained_model import TrainedModel
from peftlens.tasks import task_of

REQUIRES = frozenset()
VERSION = 3
COLUMNS = (
    Column("step", "number of optimizer steps taken", "steps"),
    Column("loss", "negative log-probability of the right answers", "nats per token", "lower"),
    Column("accuracy", "share of validation examples answered right", "1", "higher"),
    Column(
        "loss_decrease", "loss at the first saved step minus this loss", "nats per token", "higher"
    ),
    Column(
        "loss_decrease_ci_low",
        "lower end of its 95 % interval over items",
        "nats per token",
        "higher",
    ),
    Column("loss_decrease_ci_high", "upper end of this interval", "nats per token", "higher"),
    Column("n_items", "number of validation examples", "1"),
    Column("learning_rate", "peak learning rate of the run"),
)
CHARTS = tuple(
    Chart("line", x="step", y=y, title=f"{y.capitalize()} on validation examples during training",
          by="configuration")
    for y in ("loss", "accuracy")
)  # fmt: skip


def measure(context: RunContext, run: TrainedModel) -> pd.DataFrame:
    """Return one row per saved step."""
    examples = task_of(run).splits["validation"]
    encoder = Collator.of(context.base_model(run), run.config.training.max_length)
    items, _ = encoder.items(examples)
    losses, right = [], []
    for step in run.steps:
        with context.open_run(run, step) as model:
            choices = choose(model, encoder, items, f"Validation at step {step}")
        losses.append(choices.loss)
        right.append(choices.by_sum == choices.correct if len(items[0].rows) > 1 else None)
    rows = []
    for step, loss, hits in zip(run.steps, losses, right, strict=True):
        row = {
            "step": step,
            "loss": loss.mean(),
            "accuracy": None if hits is None else hits.mean(),
            "n_items": len(loss),
            "learning_rate": run.config.training.learning_rate,
        }
        row |= {"loss_decrease": None, "loss_decrease_ci_low": None, "loss_decrease_ci_high": None}
        if step > run.steps[0]:
            decrease = losses[0] - loss
            interval = mean_interval(decrease, np.random.default_rng(0))
            row |= {
                "loss_decrease": decrease.mean(),
                "loss_decrease_ci_low": interval.low,
                "loss_decrease_ci_high": interval.high,
            }
        rows.append(row)
    frame = pd.DataFrame(rows)[[column.name for column in COLUMNS]]
    return frame.astype(
        dict.fromkeys(
            ("accuracy", "loss_decrease", "loss_decrease_ci_low", "loss_decrease_ci_high"),
            "Float64",
        )
    )
