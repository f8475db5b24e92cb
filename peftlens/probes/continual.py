"""Tasks learned one after the other: what is left of the earlier ones, and what it helps the later.

In two regimes. *one adapter*: it is trained on task after task. *swapped*: each task has an adapter
of its own on the same base, and the right one is put in: then nothing can be forgotten, by
construction, and the price is one adapter a task.
Source: Lopez-Paz & Ranzato 2017, arXiv:1706.08840 (ACC, BWT, FWT); Chaudhry et al. 2018,
arXiv:1801.10112 (F).
"""

from collections import defaultdict
from collections.abc import Callable, Mapping

import pandas as pd

from peftlens.numerics.continual_metrics import (
    Sequence,
    average_accuracy,
    backward_transfer,
    forgetting,
    forward_transfer,
    sequences,
)
from peftlens.numerics.resampling import few_interval
from peftlens.results.table import Chart, Column

INPUTS = ("sequence_scores",)
VERSION = 2
OPTIONAL = True  # where there is a sequence
MEASURES: dict[str, Callable[[Sequence], float]] = {
    "ACC": lambda one: average_accuracy(one.scores),
    "BWT": lambda one: backward_transfer(one.scores),
    "FWT": lambda one: forward_transfer(one.scores, one.untrained),
    "F": lambda one: forgetting(one.scores),
}
COLUMNS = (
    Column("name", "setting and regime"),
    Column("configuration", "method and the hyperparameters that the study set"),
    Column("regime", "one adapter trained on, or one for each task, swapped"),
    Column("measure", "ACC: mean accuracy at the end; BWT: change of accuracy on earlier tasks; "
           "FWT: accuracy before a task is trained, minus the base's; F: fall below the best"),
    Column("value", "mean over seeds, of accuracies or their differences", "1"),
    Column("ci_low", "lower end of its 95 % interval over seeds (Student's t)", "1"),
    Column("ci_high", "upper end", "1"),
    Column("n_seeds", "sequences"),
    Column("orders", "the tasks, in every order that was met"),
    Column("n_items", "scored examples of the smallest task"),
)  # fmt: skip
CHARTS = (
    Chart(
        "points",
        x="name",
        y="value",
        title="A sequence of tasks (bars: 95 % interval over seeds)",
        low="ci_low",
        high="ci_high",
        each="measure",
    ),
)


def combine(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """A row for each setting, regime and measure; none without a whole sequence."""
    groups: dict[tuple[str, str], list[Sequence]] = defaultdict(list)
    for one in sequences(tables["sequence_scores"]):
        groups[one.setting, one.regime].append(one)
    rows = []
    for (setting, regime), members in groups.items():
        for measure, of in MEASURES.items():
            values = [of(one) for one in members]
            interval = few_interval(values)
            rows.append(
                {
                    "name": f"{setting} ({regime})",
                    "configuration": setting,
                    "regime": regime,
                    "measure": measure,
                    "value": sum(values) / len(values),
                    "ci_low": interval.low,
                    "ci_high": interval.high,
                    "n_seeds": len(members),
                    "orders": "; ".join(dict.fromkeys(" → ".join(one.tasks) for one in members)),
                    "n_items": min(one.n_items for one in members),
                }
            )
    return pd.DataFrame(rows, columns=[column.name for column in COLUMNS])
