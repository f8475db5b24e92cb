"""Accuracy matrix R of continual learning: score on each task after training on each task."""

from collections.abc import Mapping

import pandas as pd

from peftlens.numerics.continual_metrics import sequences
from peftlens.numerics.resampling import few_interval
from peftlens.results.table import Chart, Column

INPUTS = ("sequence_scores",)
VERSION = 4
OPTIONAL = True  # only for sequences of tasks
COLUMNS = (
    Column("name", "configuration, regime and order"),
    Column("configuration", "method and the hyperparameters set by the study"),
    Column("regime", "one adapter, trained on all tasks, or swapped, with one adapter per task"),
    Column("order", "tasks in the order of training"),
    Column("after_task", "last trained task; base for the untrained model"),
    Column("task", "scored task"),
    Column("accuracy", "mean accuracy over seeds", "1", "higher"),
    Column("ci_low", "lower end of its 95 % interval over seeds (Student's t)", "1"),
    Column("ci_high", "upper end of this interval", "1"),
    Column("n_seeds", "number of sequences"),
    Column("n_items", "number of scored examples of the smallest task"),
)
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
    rows = []
    for one in sequences(tables["sequence_scores"]):
        for after, scores in [("base", one.untrained), *zip(one.tasks, one.scores, strict=True)]:
            rows += [
                {"name": f"{one.setting}, {one.regime}, {' → '.join(one.tasks)}",
                 "configuration": one.setting, "regime": one.regime, "order": " → ".join(one.tasks),
                 "after_task": after, "task": task, "accuracy": score, "n_items": one.n_items}
                for task, score in zip(one.tasks, scores, strict=True)
            ]  # fmt: skip
    names = [column.name for column in COLUMNS]
    if not rows:
        return pd.DataFrame(columns=names)
    cells = pd.DataFrame(rows).groupby(names[:6], sort=False)
    frame = cells.agg(accuracy=("accuracy", "mean"), n_seeds=("accuracy", "size"),
                      n_items=("n_items", "min")).reset_index()  # fmt: skip
    intervals = [few_interval(cell["accuracy"], (0, 1)) for _, cell in cells]
    frame["ci_low"] = [interval.low for interval in intervals]
    frame["ci_high"] = [interval.high for interval in intervals]
    return frame[names]
