"""Training log of a run: loss, learning rate, gradient norm and validation scores per step.

It comes from the recorded metrics and needs no model. The loss is that of each step's training
batches, so it is noisy and does not measure generalization.
"""

import pandas as pd

from peftlens.adapters.run_context import RunContext
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset()
VERSION = 1
OPTIONAL = True  # in a study, `learning` is more informative
COLUMNS = (
    Column("step", "number of optimizer steps taken", "steps"),
    Column("loss", "loss of the training batches", "nats per token", "lower"),
    Column("learning_rate", "learning rate of the step"),
    Column("grad_norm", "norm of the gradient", "1"),
    Column(
        "validation_loss", "validation loss recorded during training", "nats per token", "lower"
    ),
    Column("validation_accuracy", "validation accuracy recorded during training", "1", "higher"),
)
CHARTS = (
    Chart("line", x="step", y="loss", title="Loss of the training batches", by="configuration"),
    Chart(
        "line", x="step", y="validation_loss", title="Validation loss during training",
        by="configuration",
    ),
)  # fmt: skip


def measure(_: RunContext, run: TrainedModel) -> pd.DataFrame:
    """Return one row per step with recorded metrics.

    Raises:
        NotApplicable: no metrics were recorded, as with external adapters.
    """
    names = [column.name for column in COLUMNS]
    rows = [line for line in run.metrics() if line.keys() & {*names[1:]}]
    if not rows:
        raise NotApplicable("no training metrics were recorded")
    frame = pd.DataFrame(rows).reindex(columns=names)
    return (
        frame.groupby("step", as_index=False)
        .last()[names]
        .astype(dict.fromkeys(names[1:], "Float64"))
    )
