"""The contract between probes and figures: a described table and how to draw it.

A table file is Parquet and carries its description, so that a reader needs no probe and no torch.
"""

import io
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from peftlens.errors import InputError
from peftlens.io.escaping import visible
from peftlens.io.files import write_atomic
from peftlens.numerics.rounding import number

_METADATA = b"peftlens"


@dataclass(frozen=True)
class Column:
    """One column of a result table; `unit` is "1" when dimensionless."""

    name: str
    meaning: str
    unit: str | None = None
    better: Literal["higher", "lower"] | None = None


@dataclass(frozen=True)
class Chart:
    """A drawing request that any renderer (Plotly, a plain table) can honor.

    Where a table has steps and the chart shows none, each run's last step is drawn.

    Attributes:
        kind: points: names down the side, and a mark for each row with its interval, or where a
                name has many rows, their median and the middle 90 %;
            line: marks joined along x, rows of equal x being averaged, in a band;
            front: marks, and a line through those that no other one betters;
            heatmap: a cell for each x and y, with `value` in it.
        x: column on the horizontal axis; of names, where they go down the side.
        y: column on the vertical axis.
        title: what is drawn, in words.
        low: column with the interval's lower end; none is drawn without it.
        high: column with its upper end.
        text: column written beside each point; of a front, the share of resamples in which a mark
            is on it, which is told and not drawn.
        log_x: the horizontal axis is logarithmic.
        each: a column; a figure is drawn for each of its values that has any rows to draw.
        by: a column; each of its values has a line, color, shape and dash of its own.
        value: column of a heatmap's cells.
    """

    kind: Literal["points", "line", "pareto", "heatmap"]
    x: str
    y: str
    title: str
    low: str | None = None
    high: str | None = None
    text: str | None = None
    log_x: bool = False
    each: str | None = None
    by: str | None = None
    value: str | None = None


# Every probe's table starts with what ties a row to its run, and says what was not measured.
IDENTITY = (
    Column("run", "id of the run"),
    Column("configuration", "method and the hyperparameters that the study set"),
    Column("method", "name of the method"),
    Column("seed", "seed of the run"),
)
STATUS = (
    Column("status", "measured, or not_applicable"),
    Column("reason", "why it was not measured"),
)


@dataclass(frozen=True)
class Table:
    """A data frame with its description.

    Attributes:
        name: the probe's name.
        version: the probe's VERSION.
        frame: the rows; its columns are named as `columns` says.
        config: the probe's options, as plain values.
    """

    name: str
    version: int
    columns: tuple[Column, ...]
    charts: tuple[Chart, ...]
    frame: pd.DataFrame
    config: dict[str, Any] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        """The measured rows, for a notebook."""
        return html_of(measured(self.frame).drop(columns=["status", "reason"], errors="ignore"))


def last_steps(frame: pd.DataFrame) -> pd.DataFrame:
    """Of a table with a row per checkpoint, the rows of each run's last one."""
    return frame[frame["step"] == frame.groupby("run")["step"].transform("max")]


def measured(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that are not there only to say why nothing was measured."""
    return frame[frame["status"] == "measured"] if "status" in frame else frame


_SHOWN = 60  # rows of a table in a notebook


def html_of(frame: pd.DataFrame) -> str:
    """The first rows as an HTML table, whatever is in them, without columns that are empty."""
    shown = frame.dropna(axis="columns", how="all").head(_SHOWN)
    texts = {name: [visible(number(value)) for value in shown[name]] for name in shown}
    left = len(frame) - len(shown)
    more = f"<p>{left:,} more rows</p>" if left else ""
    return pd.DataFrame(texts).to_html(index=False, escape=True, border=0) + more


class NotApplicable(Exception):
    """A probe says that a run has nothing for it to measure; the message is the reason."""


def not_applicable(columns: tuple[Column, ...], reason: str) -> pd.DataFrame:
    """One row that says why there is nothing; every measured column is missing in it."""
    row = {column.name: None for column in columns} | {"status": "not_applicable", "reason": reason}
    return pd.DataFrame([row])


def write(table: Table, path: Path) -> None:
    """Write the table and its description, whole or not at all.

    Raises:
        ValueError: the frame's columns are not the declared ones.
    """
    declared = [column.name for column in table.columns]
    if (found := list(table.frame.columns)) != declared:
        raise ValueError(f"table {table.name} has columns {found}, declared are {declared}")
    about = {
        "name": table.name,
        "version": table.version,
        "columns": [asdict(column) for column in table.columns],
        "charts": [asdict(chart) for chart in table.charts],
        "config": table.config,
    }
    data = pa.Table.from_pandas(table.frame, preserve_index=False)
    data = data.replace_schema_metadata(
        {**(data.schema.metadata or {}), _METADATA: json.dumps(about).encode()}
    )
    buffer = io.BytesIO()
    pq.write_table(data, buffer)
    write_atomic(path, buffer.getvalue())


def read(path: Path) -> Table:
    """Read a table that `write` wrote.

    Raises:
        InputError: the file is damaged or not ours.
    """
    try:
        data = pq.read_table(path)
        about = json.loads((data.schema.metadata or {})[_METADATA])
    except (OSError, pa.ArrowException, KeyError) as error:
        raise InputError(f"{path} is no table of peftlens or is damaged; delete it") from error
    return Table(
        name=about["name"],
        version=about["version"],
        columns=tuple(Column(**column) for column in about["columns"]),
        charts=tuple(Chart(**chart) for chart in about["charts"]),
        frame=data.to_pandas(),
        config=about.get("config", {}),
    )
