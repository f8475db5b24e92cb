"""Tables of one probe over several runs, put below each other."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from peftlens.results.table import IDENTITY, Table, read
from peftlens.runs.run import Run
from peftlens.runs.trained_model import TrainedModel


def joined(runs: Sequence[Run], name: str, labels: Mapping[str, str]) -> Table:
    """What a probe has measured before of those of several runs that it has measured.

    Tables of older versions of the probe, whose columns may be others, are left out.

    Raises:
        InputError: a table is damaged.
    """
    files = {run: run.path / "probes" / f"{name}.parquet" for run in runs}
    there: dict[TrainedModel, Table] = {
        run: read(file) for run, file in files.items() if file.exists()
    }
    newest = max(one.version for one in there.values())
    return join({run: one for run, one in there.items() if one.version == newest}, labels)


def join(tables: Mapping[TrainedModel, Table], labels: Mapping[str, str]) -> Table:
    """All rows below each other, each with what ties it to its run."""
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
    """All rows below each other, in types that can be missing: some runs fill no columns."""
    types = {str(name): _type([frame[name] for frame in frames]) for name in frames[0]}
    return pd.concat([frame.astype(types) for frame in frames], ignore_index=True)


def _type(columns: list[pd.Series]) -> str:
    """The type that holds the values of one column of every frame; lists are plain objects."""
    nullable = {"i": "Int64", "u": "Int64", "f": "Float64", "b": "boolean"}
    found = [nullable[column.dtype.kind] for column in columns if column.dtype.kind in nullable]
    if found:
        return found[0]
    present = [value for column in columns for value in column.dropna().head(1)]
    return "object" if any(isinstance(value, list | np.ndarray) for value in present) else "string"
