"""Concatenation of one probe's tables over several runs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

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
    frames = []
    for run, table in tables.items():
        identity = {
            "run": run.id,
            "configuration": labels[run.id],
            "method": run.config.method,
            "seed": run.config.seed,
        }
        frames.append(table.frame.assign(**identity))
    first = next(iter(tables.values()))
    columns = (*IDENTITY, *first.columns)
    frame = _stack(frames)[[column.name for column in columns]]
    runs = tuple(run.id for run in tables)
    return replace(first, columns=columns, frame=frame, runs=runs, sha256=None)


def _stack(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate rows with nullable types, as columns may be empty for some runs."""
    types = {str(name): _type([frame[name] for frame in frames]) for name in frames[0]}
    return pd.concat([frame.astype(types) for frame in frames], ignore_index=True)


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
    present = [value for column in filled for value in column.dropna().head(1)]
    return "object" if any(isinstance(value, list | np.ndarray) for value in present) else "string"
