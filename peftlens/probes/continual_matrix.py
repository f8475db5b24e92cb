"""Accuracy matrix R of continual learning: score on each task after training on each task."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import pandas as pd

from peftlens.numerics.continual_metrics import TaskSequence, sequences
from peftlens.numerics.mixed_model import Estimate, crossed_estimate
from peftlens.results.table import Chart, Column

INPUTS = ("sequence_items",)
VERSION = 5
OPTIONAL = True  # only for sequences of tasks
COLUMNS = (
    Column("name", "configuration, regime and order"),
    Column("configuration", "method and the hyperparameters set by the study"),
    Column("regime", "one adapter, trained on all tasks, or swapped, with one adapter per task"),
    Column("order", "tasks in the order of training"),
    Column("after_task", "last trained task; base for the untrained model"),
    Column("task", "scored task"),
    Column("accuracy", "mean accuracy over seeds", "1", "higher"),
    Column("ci_low", "lower end of its 95 % interval over seeds and test examples; over "
           "examples alone with one seed", "1"),
    Column("ci_high", "upper end of this interval", "1"),
    Column("n_seeds", "number of sequences"),
    Column("n_items", "number of the task's scored examples"),
)  # fmt: skip
CHARTS = (
    Chart(
        "heatmap",
        x="task",
        y="after_task",
        title="Accuracy on each task after training on each",
        value="accuracy",
        each="name",
    ),
)


def combine(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one row per cell of R, after rows with the scores of the untrained base."""
    groups: dict[tuple[str, str, tuple[str, ...]], list[TaskSequence]] = defaultdict(list)
    for one in sequences(tables["sequence_items"]):
        groups[one.setting, one.regime, one.tasks].append(one)
    rows = []
    for (configuration, regime, tasks), members in groups.items():
        order = " → ".join(tasks)
        for n_trained, after in enumerate(["base", *tasks]):
            for task in tasks:
                cell, n_items = _cell(members, n_trained, task)
                rows.append(
                    {
                        "name": f"{configuration}, {regime}, {order}",
                        "configuration": configuration,
                        "regime": regime,
                        "order": order,
                        "after_task": after,
                        "task": task,
                        "accuracy": cell.value,
                        "ci_low": None if cell.low is None else max(cell.low, 0),
                        "ci_high": None if cell.high is None else min(cell.high, 1),
                        "n_seeds": len(members),
                        "n_items": n_items,
                    }
                )
    return pd.DataFrame(rows, columns=[column.name for column in COLUMNS])


def _cell(members: Sequence[TaskSequence], n_trained: int, task: str) -> tuple[Estimate, int]:
    """Estimate one entry of R, and count its items."""
    answers = [one.right[n_trained].loc[task] for one in members]
    items = pd.concat(answers, axis=1, join="inner")  # (items, seeds)
    return crossed_estimate(items.to_numpy().T), len(items)
