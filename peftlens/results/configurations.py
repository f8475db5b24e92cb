"""Table `configurations`: the hyperparameters of each configuration, defaults included.

Names of configurations are for people. Comparisons of configurations read the values in this table,
which depend neither on the order of a study file's keys nor on omitted defaults.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from peftlens.results.table import Column, Table
from peftlens.runs.configuration_names import hyperparameters, sweeps, tasks_before, text
from peftlens.runs.trained_model import TrainedModel

CONFIGURATIONS = "configurations"
VERSION = 1
NAMES = (
    Column("configuration", "method and the hyperparameters set by the study"),
    Column("sweep", "configuration without the learning rate, as in tables of best rates"),
)


def configurations_table(runs: Sequence[TrainedModel], labels: Mapping[str, str]) -> Table:
    """Build a table with a row for each configuration and a column for each hyperparameter.

    Numbers and truth values keep their types; lists become text, with items joined by commas. A
    cell is missing if the method has no such hyperparameter. `after` has the tasks of the runs that
    a run goes on from.

    Args:
        runs: finished runs, in the order of the rows.
        labels: names of the configurations, by run id.
    """
    records = {run.id: run.record for run in runs}
    sweep_labels = sweeps(run.record for run in runs)
    rows: dict[str, dict[str, Any]] = {}
    for run in runs:
        names = {"configuration": labels[run.id], "sweep": sweep_labels[run.id]}
        values = hyperparameters(run.config)
        del values["continue_from"]  # it differs from seed to seed
        values["after"] = tasks_before(run.record, records) or None
        rows.setdefault(labels[run.id], names | values)
    keys = dict.fromkeys(key for row in rows.values() for key in row)
    frame = pd.DataFrame({key: _typed([row.get(key) for row in rows.values()]) for key in keys})
    values = (
        Column(key, "hyperparameter") for key in keys if key not in {"configuration", "sweep"}
    )
    ids = tuple(run.id for run in runs)
    return Table(CONFIGURATIONS, VERSION, (*NAMES, *values), (), frame, runs=ids)


def _typed(values: list[Any]) -> pd.Series:
    """Build a column of numbers or truth values where all values are, and of text otherwise."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pd.Series(values, dtype="boolean")
    if kinds in ({int}, {float}, {int, float}):
        return pd.Series(values, dtype="Int64" if kinds == {int} else "Float64")
    return pd.Series([None if value is None else _text(value) for value in values], dtype="string")


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else text(value)
