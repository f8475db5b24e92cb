"""Concatenation of one probe's tables over several runs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from peftlens.results.table import IDENTITY, Table, read
from peftlens.runs.run import Run
from peftlens.runs.trained_model import TrainedModel


def joined(runs: Sequence[Run], name: str, labels: Mapping[str, str]) -> Table:
    """Read and join a probe's saved tables of several runs.

    Runs without a table are left out, and so are tables of older versions, whose columns may
    differ.

    Raises:
        InputError: a table is damaged.
    """
    files = {run: run.path / "probes" / f"{name}.parquet" for run in runs}
    saved: dict[TrainedModel, Table] = {
        run: read(file) for run, file in files.items() if file.exists()
    }
    newest = max(table.version for table in saved.values())
    return join({run: table for run, table in saved.items() if table.version == newest}, labels)


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
    return replace(first, columns=columns, frame=frame)


def _stack(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate rows with nullable types, as columns may be empty for some runs."""
    types = {str(name): _type([frame[name] for frame in frames]) for name in frames[0]}
    return pd.concat([frame.astype(types) for frame in frames], ignore_index=True)


def _type(columns: list[pd.Series]) -> str:
    """Return the common type of one column of all frames; lists are plain objects."""
    nullable = {"i": "Int64", "u": "Int64", "f": "Float64", "b": "boolean"}
    types = [nullable[column.dtype.kind] for column in columns if column.dtype.kind in nullable]
    if types:
        return types[0]
    present = [value for column in columns for value in column.dropna().head(1)]
    return "object" if any(isinstance(value, list | np.ndarray) for value in present) else "string"
