"""The table `configurations`: each configuration's hyperparameters, defaults filled in.

Names of configurations are for people. Whatever compares configurations reads their values here, so
it makes no difference in which order, or whether, a study file wrote a key.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from peftlens.results.table import Column, Table
from peftlens.runs.run import hyperparameters, sweeps, text
from peftlens.runs.trained_model import TrainedModel

CONFIGURATIONS = "configurations"
VERSION = 1
NAMES = (
    Column("configuration", "method and the hyperparameters that the study set"),
    Column("sweep", "the same without the learning rate, as tables of best rates name it"),
)


def configurations_table(runs: Sequence[TrainedModel], labels: Mapping[str, str]) -> Table:
    """A row for each configuration, a column for each hyperparameter of any of them.

    Numbers and truth values stay what they are; a list is text, its items joined by commas. A cell
    is missing where the method has no such hyperparameter.

    Args:
        runs: finished runs, in the order that the rows should have.
        labels: name of each run's configuration by run id.
    """
    of_sweep = sweeps(run.record for run in runs)
    rows: dict[str, dict[str, Any]] = {}
    for run in runs:
        names = {"configuration": labels[run.id], "sweep": of_sweep[run.id]}
        rows.setdefault(labels[run.id], names | hyperparameters(run.config))
    keys = dict.fromkeys(key for row in rows.values() for key in row)
    frame = pd.DataFrame({key: _typed([row.get(key) for row in rows.values()]) for key in keys})
    values = (
        Column(key, "hyperparameter") for key in keys if key not in {"configuration", "sweep"}
    )
    return Table(CONFIGURATIONS, VERSION, (*NAMES, *values), (), frame)


def _typed(values: list[Any]) -> pd.Series:
    """Numbers or truth values where all of a column are, otherwise text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pd.Series(values, dtype="boolean")
    if kinds in ({int}, {float}, {int, float}):
        return pd.Series(values, dtype="Int64" if kinds == {int} else "Float64")
    return pd.Series([None if value is None else _text(value) for value in values], dtype="string")


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else text(value)
