"""What a training wrote down while it went on: loss, rate and scores, step by step.

It is read off the run's metrics and needs no model. The loss is that of the batches of the steps
themselves, so it is noisy, and says nothing of other examples.
"""

import pandas as pd

from peftlens.adapters.run_context import RunContext
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset()
VERSION = 1
OPTIONAL = True  # of a study `learning` says more
COLUMNS = (
    Column("step", "optimizer steps taken", "steps"),
    Column("loss", "of the training batches", "nats per token", "lower"),
    Column("learning_rate", "of that step"),
    Column("grad_norm", "norm of the gradient", "1"),
    Column("validation_loss", "as the training measured it", "nats per token", "lower"),
    Column("validation_accuracy", "as the training measured it", "1", "higher"),
)
CHARTS = (
    Chart("line", x="step", y="loss", title="Loss of the training batches", by="configuration"),
    Chart(
        "line", x="step", y="validation_loss", title="Validation loss while training",
        by="configuration",
    ),
)  # fmt: skip


def measure(_: RunContext, run: TrainedModel) -> pd.DataFrame:
    """A row for each step of which anything was kept.

    Raises:
        NotApplicable: nothing was, as with an adapter from elsewhere.
    """
    names = [column.name for column in COLUMNS]
    rows = [line for line in run.metrics() if line.keys() & {*names[1:]}]
    if not rows:
        raise NotApplicable("its training kept no numbers")
    frame = pd.DataFrame(rows).reindex(columns=names)
    return (
        frame.groupby("step", as_index=False)
        .last()[names]
        .astype(dict.fromkeys(names[1:], "Float64"))
    )
