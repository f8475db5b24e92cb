"""Accuracy of a run, trained on one task of a sequence, on every task of the sequence.

It is one row of R, the accuracy matrix of continual learning, together with the accuracies of the
base and of the most frequent class; `sequence_items` has the single answers.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.results.table import IDENTITY, Chart, Column

INPUTS = ("sequence_items",)
VERSION = 3
OPTIONAL = True  # only for sequences of tasks
COLUMNS = (
    *IDENTITY,
    Column("shared_configuration", "method and hyperparameters shared by all runs of a sequence"),
    Column("trained_on", "training task of the run"),
    Column("continue_from", "id of the run of the initial adapter; missing for new adapters"),
    Column("task", "scored task"),
    Column("accuracy", "share of the task's test examples answered right", "1", "higher"),
    Column("base_accuracy", "share answered right by the untrained base", "1", "higher"),
    Column("majority_accuracy", "share of the most frequent class of the training split; missing "
           "for tasks without classes", "1", "higher"),
    Column("n_items", "number of test examples"),
)  # fmt: skip
CHARTS: tuple[Chart, ...] = ()


def combine(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one row per run and task."""
    items = tables["sequence_items"]
    of_run = [column.name for column in COLUMNS[:7]]
    rows = items.groupby(["run", "task"], sort=False).agg(
        **{name: (name, "first") for name in of_run if name != "run"},
        accuracy=("right", "mean"),
        base_accuracy=("base_right", "mean"),
        majority_accuracy=("majority_right", "mean"),
        n_items=("item", "size"),
    )
    return rows.reset_index()[[column.name for column in COLUMNS]]
