"""Learning curve: losses and accuracy on validation examples at each saved step.

Most of the loss before training is the format of the answers: their leading space, or that they are
labels at all. `label_loss` leaves it out, as it is normalized over the candidate answers. The
examples are the same at every step, so the decreases since the first saved step are paired by item.
They are missing for runs with one saved step.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peftlens.adapters.run_context import RunContext
from peftlens.data.collate import Collator
from peftlens.evaluation.log_likelihood import Choices, choose
from peftlens.numerics.resampling import mean_interval
from peftlens.results.table import Chart, Column
from peftlens.runs.trained_model import TrainedModel
from peftlens.tasks import task_of

REQUIRES = frozenset()
VERSION = 4
_LOSSES = {"loss": "nats per token", "label_loss": "nats"}  # units
_PRESENT = ("step", "loss", "n_items", "learning_rate")  # columns without missing values


def _decrease_columns(loss: str) -> tuple[Column, ...]:
    unit = _LOSSES[loss]
    return (
        Column(
            f"{loss}_decrease", f"{loss} at the first saved step minus this one", unit, "higher"
        ),
        Column(
            f"{loss}_decrease_ci_low",
            "lower end of its 95 % interval over items",
            unit,
            "higher",
        ),
        Column(f"{loss}_decrease_ci_high", "upper end of this interval", unit, "higher"),
    )


COLUMNS = (
    Column("step", "number of optimizer steps taken", "steps"),
    Column("loss", "negative log-probability of the right answers", "nats per token", "lower"),
    Column(
        "label_loss",
        "negative log-probability of the right answers among the candidate answers",
        "nats",
        "lower",
    ),
    Column("accuracy", "share of validation examples answered right", "1", "higher"),
    *_decrease_columns("loss"),
    *_decrease_columns("label_loss"),
    Column("n_items", "number of validation examples", "1"),
    Column("learning_rate", "peak learning rate of the run"),
)
CHARTS = tuple(
    Chart("line", x="step", y=y, title=f"{name} on validation examples during training",
          by="configuration")
    for y, name in (("loss", "Loss"), ("label_loss", "Loss among the candidate answers"),
                    ("accuracy", "Accuracy"))
)  # fmt: skip


def measure(context: RunContext, run: TrainedModel) -> pd.DataFrame:
    """Return one row per saved step."""
    examples = task_of(run).splits["validation"]
    encoder = Collator.of(context.base_model(run), run.config.training.sequence_length)
    items, _ = encoder.items(examples)
    scores: list[Choices] = []
    for step in run.steps:
        with context.open_run(run, step) as model:
            scores.append(choose(model, encoder, items, f"Validation at step {step}"))
    one_answer = len(items[0].rows) == 1
    rows = []
    for step, choices in zip(run.steps, scores, strict=True):
        row = {
            "step": step,
            "accuracy": (choices.by_sum == choices.correct).mean(),
            "n_items": len(items),
            "learning_rate": run.config.training.learning_rate,
        }
        for name in _LOSSES:
            loss = getattr(choices, name)
            row[name] = loss.mean()
            if step > run.steps[0]:
                row |= _decrease(name, getattr(scores[0], name) - loss)
        rows.append(row)
    frame = pd.DataFrame(rows).reindex(columns=[column.name for column in COLUMNS])
    if one_answer:  # a text is all there is to choose
        frame[["accuracy", *(c.name for c in COLUMNS if c.name.startswith("label_loss"))]] = None
    return frame.astype(dict.fromkeys((name for name in frame if name not in _PRESENT), "Float64"))


def _decrease(name: str, values: NDArray[np.float64]) -> dict[str, float | None]:
    interval = mean_interval(values, np.random.default_rng(0))
    return {
        f"{name}_decrease": values.mean(),
        f"{name}_decrease_ci_low": interval.low,
        f"{name}_decrease_ci_high": interval.high,
    }
