"""R, cell by cell: accuracy on each task of a sequence after training on each of them."""

from collections.abc import Mapping

import pandas as pd

from peftlens.numerics.continual_metrics import sequences
from peftlens.numerics.resampling import few_interval
from peftlens.results.table import Chart, Column

INPUTS = ("sequence_scores",)
VERSION = 4
OPTIONAL = True  # where there is a sequence
COLUMNS = (
    Column("name", "setting, regime and order"),
    Column("configuration", "method and the hyperparameters that the study set"),
    Column("regime", "one adapter trained on, or one for each task, swapped"),
    Column("order", "the tasks as they were met"),
    Column("after_task", "task that was trained last; base: before any"),
    Column("task", "task that is scored"),
    Column("accuracy", "mean over seeds", "1", "higher"),
    Column("ci_low", "lower end of its 95 % interval over seeds (Student's t)", "1"),
    Column("ci_high", "upper end", "1"),
    Column("n_seeds", "sequences"),
    Column("n_items", "scored examples of the smallest task"),
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
    """A row for each cell of R, and for the base's own scores above it."""
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
    found = cells.agg(accuracy=("accuracy", "mean"), n_seeds=("accuracy", "size"),
                      n_items=("n_items", "min")).reset_index()  # fmt: skip
    intervals = [few_interval(cell["accuracy"], (0, 1)) for _, cell in cells]
    found["ci_low"] = [interval.low for interval in intervals]
    found["ci_high"] = [interval.high for interval in intervals]
    return found[names]
