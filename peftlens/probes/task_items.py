"""Preferred answer of a run's model for every test example of its task.

Answers are scored by their full log-probability, as in lm-evaluation-harness (Gao et al. 2024):
summed (`acc`) and per byte of the answer (`acc_bytes`; its `acc_norm` counts characters, the same
for most texts); of tied answers the first is chosen, as there. How well a model tells the labels
apart is measured apart from how likely it finds their format: `label_loss` is normalized over the
candidate answers, and `chosen_calibrated` is corrected for the model's preference for some labels
(Zhao et al. 2021, arXiv:2102.09690, with the prior of Zhou et al. 2023, arXiv:2309.17249: the mean
over the split). Paired comparisons between methods require this table; `task_accuracy` aggregates
it. Texts and conversations have no candidate answers: only their loss is measured. Answers that are
compared as text are written greedily, and have the score that the task names. Where the task has a
head, its classes are compared by the head's outputs; a number has a squared error, and the tags of
a text's words have the share of right ones.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from peftlens.adapters.run_context import RunContext
from peftlens.data.collate import Collator
from peftlens.data.task import Task
from peftlens.data.tokenization import TokenizedExample
from peftlens.evaluation.answers import answer
from peftlens.evaluation.log_likelihood import choose
from peftlens.models.heads import Head
from peftlens.results.majority_baseline import most_frequent
from peftlens.results.table import Chart, Column
from peftlens.runs.trained_model import TrainedModel
from peftlens.tasks import task_of

REQUIRES = frozenset()
VERSION = 5
COLUMNS = (
    Column("item", "index of the example in the task's test split"),
    Column("correct", "index of the right answer"),
    Column("chosen", "index of the answer with the highest log-probability"),
    Column("chosen_per_byte", "index of the answer with the highest log-probability per byte"),
    Column(
        "chosen_calibrated",
        "index of the answer with the highest probability relative to the label's mean over the "
        "split; none where examples have options of their own",
    ),
    Column("tied", "whether several answers share the highest log-probability"),
    Column(
        "loss",
        "negative log-probability of the right answer or tags, or squared error of a number",
        "nats per token or tag, or the number's unit squared",
        "lower",
    ),
    Column(
        "label_loss",
        "negative log-probability of the right answer among the candidate answers",
        "nats",
        "lower",
    ),
    Column(
        "majority",
        "index of the most frequent right answer of the training split; none where examples have "
        "options of their own",
    ),
    Column("majority_class", "name of this class"),
    Column("n_answers", "number of candidate answers", "1"),
    Column(
        "score",
        "1 if the answer is right, else 0; of a written answer the task's score, of tagged words "
        "the share of right tags",
        "1",
        "higher",
    ),
    Column("answer", "written answer; none where answers are given"),
    Column("value", "right number; none unless the task is a regression"),
    Column("predicted_value", "number that the head predicts"),
    Column("tags", "list of the words' right tags; none unless words are tagged"),
    Column("predicted_tags", "list of the tags that the head predicts"),
)
CHARTS: tuple[Chart, ...] = ()


def measure(context: RunContext, run: TrainedModel) -> pd.DataFrame:
    """Return one row per test example, in the split's order."""
    task = task_of(run)
    base = context.base_model(run)
    encoder = Collator.of(base, run.config.training.sequence_length)
    items, _ = encoder.items(task.splits["test"])
    with context.open_run(run) as model:
        choices = choose(model, encoder, items, "Scoring the test split")
        writer = base if run.is_base else model
        written = answer(writer, encoder, task, items) if task.answers else None
    majority = _majority(task)
    frame = pd.DataFrame(
        {
            "item": [item.index for item in items],
            "correct": choices.correct,
            "chosen": choices.by_sum,
            "chosen_per_byte": choices.by_byte,
            "chosen_calibrated": choices.calibrated,
            "tied": choices.tied,
            "loss": choices.loss,
            "label_loss": choices.label_loss,
            "majority": majority,
            "majority_class": None if majority is None else task.labels[majority].strip(),
            "n_answers": [len(item.rows) for item in items],
            "score": (choices.by_sum == choices.correct).astype(float),
            "answer": None,
        }
    ).reindex(columns=[column.name for column in COLUMNS])
    if len(items[0].rows) > 1:
        return frame
    frame = frame[["item", "loss"]].reindex(columns=[column.name for column in COLUMNS])
    if written:
        frame["score"], frame["answer"] = zip(*written, strict=True)
    if base.head and choices.predicted is not None:
        return frame.assign(**_labels(base.head, items, choices.predicted))
    return frame


def _labels(
    head: Head, items: Sequence[TokenizedExample], predicted: Sequence[Any]
) -> dict[str, Any]:
    """Return the columns of numbers, or of tags."""
    rows: list[Any] = [item.rows[0] for item in items]
    if head.is_regression:
        return {"value": [row.labels[0] for row in rows], "predicted_value": [*predicted]}
    right = [[head.labels[k] for k in row.labels] for row in rows]
    chosen = [[head.labels[k] for k in tags] for tags in predicted]
    shares = [
        float(np.mean([one == other for one, other in zip(tags, others, strict=True)]))
        for tags, others in zip(right, chosen, strict=True)
    ]
    return {"score": shares, "tags": right, "predicted_tags": chosen}


def _majority(task: Task) -> int | None:
    """Return the index of the most frequent class of the training split."""
    if task.kind != "classification":
        return None
    return most_frequent(example.correct for example in task.splits["train"])
