"""Continual-learning metrics of a sequence of tasks: accuracy, transfer and forgetting.

Two regimes are compared. *one adapter*: one adapter is trained on the tasks in sequence. *swapped*:
each task has a separate adapter on the same base, selected by task: nothing can be forgotten, by
construction, at the cost of one adapter per task.
Seeds and test examples are both random in the intervals (`numerics/mixed_model.py`). That of F
takes the step of each task's best accuracy as known: the maximum of noisy accuracies is somewhat
too large, the more the fewer test examples there are.
Source: Lopez-Paz & Ranzato 2017, arXiv:1706.08840 (ACC, BWT, FWT); Chaudhry et al. 2018,
arXiv:1801.10112 (F).
"""

from collections import defaultdict
from collections.abc import Mapping

import pandas as pd

from peftlens.numerics.continual_metrics import (
    TaskSequence,
    Weigh,
    average_accuracy,
    backward_transfer,
    estimate,
    forgetting,
    forward_transfer,
    sequences,
)
from peftlens.results.table import Chart, Column

INPUTS = ("sequence_items",)
VERSION = 3
OPTIONAL = True  # only for sequences of tasks
MEASURES: dict[str, Weigh] = {
    "ACC": average_accuracy,
    "BWT": backward_transfer,
    "FWT": forward_transfer,
    "F": forgetting,
}
COLUMNS = (
    Column("name", "configuration and regime"),
    Column("configuration", "method and the hyperparameters set by the study"),
    Column("regime", "one adapter, trained on all tasks, or swapped, with one adapter per task"),
    Column("measure", "ACC: mean accuracy at the end; BWT: change of accuracy on earlier tasks; "
           "FWT: accuracy on a task before its training, minus the base's; F: decrease from the "
           "best accuracy"),
    Column("value", "mean over seeds: an accuracy or a difference of accuracies", "1"),
    Column("ci_low", "lower end of its 95 % interval over seeds and test examples; over "
           "examples alone with one seed", "1"),
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
        title="A sequence of tasks (bars: 95 % interval over seeds and test examples)",
        low="ci_low",
        high="ci_high",
        each="measure",
    ),
)


def combine(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one row per configuration, regime and metric; only complete sequences count."""
    groups: dict[tuple[str, str], list[TaskSequence]] = defaultdict(list)
    for one in sequences(tables["sequence_items"]):
        groups[one.setting, one.regime].append(one)
    rows = []
    for (configuration, regime), members in groups.items():
        for measure, weigh in MEASURES.items():
            found = estimate(members, weigh)
            rows.append(
                {
                    "name": f"{configuration} ({regime})",
                    "configuration": configuration,
                    "regime": regime,
                    "measure": measure,
                    "value": found.value,
                    "ci_low": found.low,
                    "ci_high": found.high,
                    "n_seeds": len(members),
                    "orders": "; ".join(dict.fromkeys(" → ".join(one.tasks) for one in members)),
                    "n_items": min(one.n_items for one in members),
                }
            )
    return pd.DataFrame(rows, columns=[column.name for column in COLUMNS])
