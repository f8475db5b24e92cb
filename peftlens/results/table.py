"""Result tables with descriptions of their columns and charts, stored as Parquet.

The description is part of the file, so that reading a table needs neither its probe nor torch.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from peftlens.errors import InputError
from peftlens.io.escaping import visible
from peftlens.io.files import sha256_text, write_atomic
from peftlens.numerics.rounding import number
from peftlens.results.rows_digest import rows_sha256

_METADATA = b"peftlens"


@dataclass(frozen=True)
class Column:
    """Column of a result table.

    Attributes:
        name: name of the column.
        meaning: meaning of its values, as a noun phrase.
        unit: unit of its values; "1" for dimensionless numbers.
        better: direction of better values, if there is one.
    """

    name: str
    meaning: str
    unit: str | None = None
    better: Literal["higher", "lower"] | None = None


@dataclass(frozen=True)
class Chart:
    """Description of a chart, independent of the drawing library.

    If a table has steps and the chart does not show them, the last step of each run is drawn.

    Attributes:
        kind: kind of the chart.
            points: names along the vertical axis, with a mark and an interval for each row, or the
                median and the central 90 % of a name with many rows;
            line: marks joined along x with a confidence band; rows of equal x are averaged;
            pareto: marks, and a line through the Pareto-optimal ones;
            heatmap: cells with the color of `value`, for each pair of x and y.
        x: column of the horizontal axis; for points, the column of names.
        y: column of the vertical axis; for points, the column of values.
        title: title of the chart.
        low: column of the interval's lower ends; None for a chart without intervals.
        high: column of the interval's upper ends.
        text: column of texts next to the points; in a Pareto chart, the share of draws with the
            mark on the front, which is listed but not drawn.
        log_x: whether the horizontal axis is logarithmic, on which zero has no place.
        each: column whose values get a figure each, if they have rows to draw.
        by: column whose values get a line, color, shape and dash each.
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


# Every probe's table starts with the identity of the run, and has a status with its reason.
IDENTITY = (
    Column("run", "id of the run"),
    Column("configuration", "method and the hyperparameters set by the study"),
    Column("method", "name of the method"),
    Column("seed", "seed of the run"),
)
STATUS = (
    Column("status", "measured, not_applicable or failed"),
    Column("reason", "reason for a missing measurement"),
)


class _Description(BaseModel):
    """Description of a table in the metadata of its file; see `Table`."""

    model_config = ConfigDict(ser_json_inf_nan="constants")

    name: str
    version: int
    columns: tuple[Column, ...]
    charts: tuple[Chart, ...]
    config: dict[str, Any] = {}
    runs: tuple[str, ...] | None = None
    configurations: tuple[str, ...] | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Table:
    """Data frame with its description.

    Attributes:
        name: name of the probe.
        version: VERSION of the probe.
        columns: descriptions of the columns, in the frame's order.
        charts: charts of the table.
        frame: rows of the table.
        config: options of the probe, as plain values.
        runs: ids of the runs that the table was made of, in order; None in files of versions that
            did not record them.
        configurations: names of these runs' configurations, if further runs of the same ones change
            nothing in the table.
        sha256: digest of the rows when they were measured, see `rows_sha256`; None before the table
            is written, and in files of versions that did not record it.
    """

    name: str
    version: int
    columns: tuple[Column, ...]
    charts: tuple[Chart, ...]
    frame: pd.DataFrame
    config: dict[str, Any] = field(default_factory=dict)
    runs: tuple[str, ...] | None = None
    configurations: tuple[str, ...] | None = None
    sha256: str | None = None

    @property
    def run_ids(self) -> list[str] | None:
        """Ids of the table's runs, in order; None if the file does not tell them."""
        if self.runs is not None:
            return list(self.runs)
        return list(self.frame["run"].unique()) if "run" in self.frame else None

    def is_of(self, labels: Mapping[str, str]) -> bool:
        """Whether the table is of these runs, as far as its file tells.

        Args:
            labels: names of the runs' configurations, by run id in the order of the rows.
        """
        runs = self.run_ids
        if runs is None or self.configurations is None:
            return runs in (None, list(labels))
        same = [labels.get(run) for run in runs] == list(self.configurations)
        return same and set(self.configurations) == set(labels.values())

    @cached_property
    def csv_sha256(self) -> str:
        """Hex SHA-256 of the rows as CSV."""
        return sha256_text(self.frame.to_csv(index=False))

    def _repr_html_(self) -> str:
        """Render the measured rows for a notebook."""
        return html_of(measured(self.frame).drop(columns=["status", "reason"], errors="ignore"))


def last_steps(frame: pd.DataFrame) -> pd.DataFrame:
    """Select the rows of each run's last checkpoint."""
    return frame[frame["step"] == frame.groupby("run")["step"].transform("max")]


def measured(frame: pd.DataFrame) -> pd.DataFrame:
    """Select the measured rows, without those that only hold a reason."""
    return frame[frame["status"] == "measured"] if "status" in frame else frame


_SHOWN = 60  # rows of a table in a notebook


def html_of(frame: pd.DataFrame) -> str:
    """Render the first rows as an escaped HTML table, without empty columns."""
    shown = frame.dropna(axis="columns", how="all").head(_SHOWN)
    texts = {name: [visible(number(value)) for value in shown[name]] for name in shown}
    hidden = len(frame) - len(shown)
    more = f"<p>{hidden:,} more rows</p>" if hidden else ""
    return pd.DataFrame(texts).to_html(index=False, escape=True, border=0) + more


class NotApplicable(Exception):
    """Exception of a probe that does not apply to a run; the message is the reason."""


def not_applicable(columns: tuple[Column, ...], reason: str) -> pd.DataFrame:
    """Return a single row with the reason, in which all measured columns are missing."""
    return _reason_alone(columns, "not_applicable", reason)


def failed(columns: tuple[Column, ...], reason: str) -> pd.DataFrame:
    """Return the single row of a run on which the probe raised an error, with the reason."""
    return _reason_alone(columns, "failed", reason)


def failures(frame: pd.DataFrame) -> dict[str, str]:
    """Return the reasons of a table's failed runs, by run id."""
    if "status" not in frame:
        return {}
    rows = frame[frame["status"] == "failed"]
    return dict(zip(rows["run"], rows["reason"], strict=True))


def _reason_alone(columns: tuple[Column, ...], status: str, reason: str) -> pd.DataFrame:
    row = {column.name: None for column in columns} | {"status": status, "reason": reason}
    return pd.DataFrame([row])


def write(table: Table, path: Path) -> None:
    """Write a table with its description atomically.

    A table that was read keeps the digest of its first rows, so that changed rows are noticed.

    Raises:
        ValueError: the frame's columns differ from the declared ones.
    """
    declared = [column.name for column in table.columns]
    if (actual := list(table.frame.columns)) != declared:
        raise ValueError(f"table {table.name} has columns {actual}, declared are {declared}")
    data = pa.Table.from_pandas(table.frame, preserve_index=False)
    description = _Description(
        name=table.name,
        version=table.version,
        columns=table.columns,
        charts=table.charts,
        config=table.config,
        runs=table.runs,
        configurations=table.configurations,
        sha256=table.sha256 or rows_sha256(data),
    )
    text = description.model_dump_json().encode()
    data = data.replace_schema_metadata({**(data.schema.metadata or {}), _METADATA: text})
    buffer = io.BytesIO()
    pq.write_table(data, buffer)
    write_atomic(path, buffer.getvalue())


def read(path: Path) -> Table:
    """Read a table file.

    Raises:
        InputError: the file is missing or damaged, was not written by `write`, or its rows have
            changed since.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file; the study's command writes the tables")
    try:
        with pq.ParquetFile(path) as file:  # `read_table` takes three times as long for a run's
            data = file.read()
        text = (data.schema.metadata or {})[_METADATA]
        description = _Description.model_validate_json(text)
        frame = data.to_pandas()
    except (OSError, pa.ArrowException, KeyError, ValidationError) as error:
        raise InputError(f"{path} is not a table of peftlens, or is damaged; delete it") from error
    if description.sha256 not in (None, rows_sha256(data)):
        raise InputError(f"the rows of {path} have changed since they were measured; delete it")
    if [column.name for column in description.columns] != list(frame.columns):
        raise InputError(f"{path} lacks columns that it describes; delete it")
    return Table(**vars(description), frame=frame)


def read_of(path: Path, name: str, runs: Sequence[str]) -> Table:
    """Read the table file of a probe over the given runs.

    Raises:
        InputError: see `read`, or the table is of another probe or other runs.
    """
    one = read(path)
    if one.name != name:
        raise InputError(f"{path} is a table of the probe {one.name}; delete it")
    if one.runs not in (None, tuple(runs)):
        raise InputError(f"{path} is a table of other runs; delete it")
    return one
