"""Concatenation of one probe's tables over several runs."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from peftlens.errors import InputError
from peftlens.results.table import IDENTITY, Table, read_of
from peftlens.runs.run import Run
from peftlens.runs.trained_model import TrainedModel


def joined(
    runs: Sequence[Run], name: str, labels: Mapping[str, str]
) -> tuple[Table | None, dict[str, str]]:
    """Read and join a probe's saved tables of several runs.

    Runs without a table are left out, and so are tables of older versions, whose columns may
    differ.

    Returns:
        The joined table, None if no table can be read; and the reasons of the others, by run id.
    """
    saved: dict[TrainedModel, Table] = {}
    reasons: dict[str, str] = {}
    for run in runs:
        file = run.table_folder / f"{name}.parquet"
        try:
            if file.exists():
                saved[run] = read_of(file, name, [run.id])
        except InputError as error:
            reasons[run.id] = str(error)
    newest = max((table.version for table in saved.values()), default=0)
    current = {run: table for run, table in saved.items() if table.version == newest}
    return join(current, labels) if current else None, reasons


def join(tables: Mapping[TrainedModel, Table], labels: Mapping[str, str]) -> Table:
    """Concatenate the rows of all tables, and add the identity columns of their runs."""
    identity = pd.DataFrame(
        {
            "run": [run.id for run in tables],
            "configuration": [labels[run.id] for run in tables],
            "method": [run.config.method for run in tables],
            "seed": [run.config.seed for run in tables],
        }
    ).astype({"run": "string", "configuration": "string", "method": "string", "seed": "Int64"})
    frames = [table.frame for table in tables.values()]
    owners = identity.loc[np.repeat(identity.index, [len(frame) for frame in frames])]
    first = next(iter(tables.values()))
    columns = (*IDENTITY, *first.columns)
    frame = _stack(frames).assign(**owners.reset_index(drop=True))  # pyright: ignore[reportArgumentType]
    frame = frame[[column.name for column in columns]]
    runs = tuple(run.id for run in tables)
    return replace(first, columns=columns, frame=frame, runs=runs, sha256=None)


def _stack(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate rows with nullable types, as columns may be empty for some runs.

    Frames of equal types are concatenated first: converting ten thousand small ones takes minutes.
    """
    alike: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for number, frame in enumerate(frames):
        alike[tuple(frame.dtypes)].append(number)
    parts = [pd.concat([frames[number] for number in members]) for members in alike.values()]
    types = {str(name): _type([part[name] for part in parts]) for name in frames[0]}
    stacked = pd.concat([part.astype(types) for part in parts], ignore_index=True)
    numbers = [number for members in alike.values() for number in members]
    owner = np.repeat(numbers, [len(frames[number]) for number in numbers])
    return stacked.iloc[np.argsort(owner, kind="stable")].reset_index(drop=True)


def _type(columns: list[pd.Series]) -> str:
    """Return the common type of one column of all frames; lists are plain objects.

    A column without a value has no say: pandas makes it a column of numbers.
    """
    filled = [column for column in columns if column.notna().any()] or columns
    nullable = {"i": "Int64", "u": "Int64", "f": "Float64", "b": "boolean"}
    types = {nullable.get(column.dtype.kind, "") for column in filled}
    if types == {"Int64", "Float64"}:  # a missing number makes whole ones floats
        return "Int64" if all((column.dropna() % 1 == 0).all() for column in filled) else "Float64"
    if len(types) == 1 and (only := types.pop()):
        return only
    present = (value for column in filled for value in column.dropna())
    return "object" if any(isinstance(value, list | np.ndarray) for value in present) else "string"
