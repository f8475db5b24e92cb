"""Continual-learning metrics of a sequence of tasks: accuracy, transfer and forgetting.

Two regimes are compared. *one adapter*: one adapter is trained on the tasks in sequence. *swapped*:
each task has a separate adapter on the same base, selected by task: nothing can be forgotten, by
construction, at the cost of one adapter per task.
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
OPTIONAL = True  # only for sequences of tasks
MEASURES: dict[str, Callable[[Sequence], float]] = {
    "ACC": lambda one: average_accuracy(one.scores),
    "BWT": lambda one: backward_transfer(one.scores),
    "FWT": lambda one: forward_transfer(one.scores, one.untrained),
    "F": lambda one: forgetting(one.scores),
}
COLUMNS = (
    Column("name", "configuration and regime"),
    Column("configuration", "method and the hyperparameters set by the study"),
    Column("regime", "one adapter, trained on all tasks, or swapped, with one adapter per task"),
    Column("measure", "ACC: mean accuracy at the end; BWT: change of accuracy on earlier tasks; "
           "FWT: accuracy on a task before its training, minus the base's; F: decrease from the "
           "best accuracy"),
    Column("value", "mean over seeds: an accuracy or a difference of accuracies", "1"),
    Column("ci_low", "lower end of its 95 % interval over seeds (Student's t)", "1"),
    Column("ci_high", "upper end of this interval", "1"),
    Column("n_seeds", "number of sequences"),
    Column("orders", "sequences of tasks in the data"),
    Column("n_items", "number of scored examples of the smallest task"),
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
    """Return one row per configuration, regime and metric; only complete sequences count."""
    groups: dict[tuple[str, str], list[Sequence]] = defaultdict(list)
    for one in sequences(tables["sequence_scores"]):
        groups[one.setting, one.regime].append(one)
    rows = []
    for (configuration, regime), members in groups.items():
        for measure, metric in MEASURES.items():
            values = [metric(one) for one in members]
            interval = few_interval(values)
            rows.append(
                {
                    "name": f"{configuration} ({regime})",
                    "configuration": configuration,
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
