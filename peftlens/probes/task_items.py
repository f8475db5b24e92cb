"""Preferred answer of a run's model for every test example of its task.

Answers are scored by their full log-probability, as in lm-evaluation-harness (Gao et al. 2024):
summed (`acc`) and per byte of the answer (`acc_norm`). Paired comparisons between methods require
this table; `task_accuracy` aggregates it. A language-modeling task has no candidate answers: only
its loss is measured.
"""

import pandas as pd

from peftlens.adapters.run_context import RunContext
from peftlens.data.collate import Collator
from peftlens.evaluation.log_likelihood import choose
from peftlens.results.table import Chart, Column
from peftlens.runs.trained_model import TrainedModel
from peftlens.tasks import task_of

REQUIRES = frozenset()
VERSION = 1
COLUMNS = (
    Column("item", "index of the example in the task's test split"),
    Column("correct", "index of the right answer"),
    Column("chosen", "index of the answer with the highest log-probability"),
    Column("chosen_per_byte", "index of the answer with the highest log-probability per byte"),
    Column("loss", "negative log-probability of the right answer", "nats per token", "lower"),
)
CHARTS: tuple[Chart, ...] = ()


def measure(context: RunContext, run: TrainedModel) -> pd.DataFrame:
    """Return one row per test example, in the split's order."""
    task = task_of(run)
    encoder = Collator.of(context.base_model(run), run.config.training.max_length)
    items, _ = encoder.items(task.splits["test"])
    with context.open_run(run) as model:
        choices = choose(model, encoder, items, "Scoring the test split")
    frame = pd.DataFrame(
        {
            "item": [item.index for item in items],
            "correct": choices.correct,
            "chosen": choices.by_sum,
            "chosen_per_byte": choices.by_byte,
            "loss": choices.loss,
        }
    )
    if task.kind == "language_modeling":
        frame = frame.assign(correct=None, chosen=None, chosen_per_byte=None)
    return frame
