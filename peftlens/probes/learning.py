"""Whether training did anything: the loss on validation examples at each saved step.

The same examples at every step, so the fall since the first saved step is paired by item; a run
that saved nothing before its end has no fall.
"""

import numpy as np
import pandas as pd

from peftlens.encoding import Encoder
from peftlens.models.adapters import opened
from peftlens.run import Run
from peftlens.scoring import choose
from peftlens.stats import mean_interval
from peftlens.table import Chart, Column
from peftlens.tasks import task_of

REQUIRES = frozenset()
VERSION = 1
COLUMNS = (
    Column("step", "optimizer steps taken", "steps"),
    Column("loss", "negative log-probability of the right answers", "nats per token", "lower"),
    Column("fall", "loss at the first saved step minus this", "nats per token", "higher"),
    Column("fall_low", "lower end of its 95 % interval over items", "nats per token", "higher"),
    Column("fall_high", "upper end", "nats per token", "higher"),
    Column("n_items", "validation examples", "1"),
)
CHARTS = (Chart("line", x="step", y="loss", title="Loss on validation examples while training"),)


def measure(run: Run) -> pd.DataFrame:
    """One row per saved step."""
    examples = task_of(run).splits["validation"]
    losses = []
    for step in run.steps:
        with opened(run, step) as (model, base):
            encoder = Encoder.of(base, run.config.training.max_length)
            items, _ = encoder.items(examples)
            losses.append(choose(model, encoder, items, f"Validation loss at step {step}").loss)
    rows = []
    for step, loss in zip(run.steps, losses, strict=True):
        row = {"step": step, "loss": loss.mean(), "n_items": len(loss)}
        row |= {"fall": None, "fall_low": None, "fall_high": None}
        if step > run.steps[0]:
            fall = losses[0] - loss
            interval = mean_interval(fall, np.random.default_rng(0))
            row |= {"fall": fall.mean(), "fall_low": interval.low, "fall_high": interval.high}
        rows.append(row)
    frame = pd.DataFrame(rows)[[column.name for column in COLUMNS]]
    return frame.astype({"fall": "Float64", "fall_low": "Float64", "fall_high": "Float64"})
