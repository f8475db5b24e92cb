"""Cells of a page's tables: numbers with their interval, in the units that people read.

Bytes are shown as MB, shares as %, and large counts as k and M; the unit stands in the head. A
value's interval is in its cell, and decides its digits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from peftlens.numerics.rounding import MISSING, interval, number
from peftlens.results.display_units import DisplayUnit, column_title, display_unit
from peftlens.results.table import Column

_LARGE = 10_000  # count from which on k and M are written
_LETTERS = ((1e9, "B"), (1e6, "M"), (1e3, "k"))
_IDS = ("id", "seed", "item", "step", "layer", "position")  # last words of names of no counts
_PLAIN = DisplayUnit(None)


@dataclass(frozen=True)
class Head:
    """Head of a column.

    Attributes:
        name: name with the unit.
        meaning: what the values are.
        unit: unit of the cells; None for text, which is left-aligned and sorted by letters.
        is_count: whether all values are numbers of things.
        better: direction of better values; empty if there is none.
    """

    name: str
    meaning: str
    unit: DisplayUnit | None = _PLAIN
    is_count: bool = False
    better: str = ""

    @property
    def is_text(self) -> bool:
        """Whether the cells are text."""
        return self.unit is None


@dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes:
        text: text of the cell.
        value: number by which it is sorted; empty where it is missing, and of text.
        exact: text with all digits, where `text` has fewer; else empty.
        best: whether a test separates it from the other rows' values.
    """

    text: str
    value: str = ""
    exact: str = ""
    best: bool = False


@dataclass(frozen=True)
class Grid:
    """A table of a page.

    Attributes:
        heads: heads of the columns.
        rows: cells of each row.
    """

    heads: tuple[Head, ...]
    rows: tuple[tuple[Cell, ...], ...]


NO_ROWS = Grid((), ())


def grid(frame: pd.DataFrame, columns: Sequence[Column]) -> Grid:
    """Make the cells of a table.

    Two columns `*ci_low` and `*ci_high` after a column of numbers become part of it if the
    intervals hold the numbers.

    Args:
        frame: rows; a column each.
        columns: descriptions of the columns.
    """
    described = {column.name: column for column in columns}
    heads, cells = [], []
    for name, ends in _with_ends(frame):
        head = head_of(described.get(name, Column(name, "")), frame[name])
        low, high = (frame[end] for end in ends) if ends else ([None] * len(frame),) * 2
        heads.append(head)
        cells.append([cell(head, *row) for row in zip(frame[name], low, high, strict=True)])
    return Grid(tuple(heads), tuple(zip(*cells, strict=True)) if cells else ())


def _with_ends(frame: pd.DataFrame) -> Iterator[tuple[str, tuple[str, str] | None]]:
    """Yield the columns to show, with the columns of their interval."""
    names, n = [*map(str, frame.columns)], 0
    while n < len(names):
        ends = names[n + 1 : n + 3]
        if len(ends) == 2 and _is_interval(frame, names[n], *ends):
            yield names[n], (ends[0], ends[1])
            n += 3
        else:
            yield names[n], None
            n += 1


def _is_interval(frame: pd.DataFrame, name: str, low: str, high: str) -> bool:
    if not (low.endswith("ci_low") and high.endswith("ci_high")):
        return False
    if name.endswith(("ci_low", "ci_high")) or not _numeric(frame[name]):
        return False
    rows = frame[[name, low, high]].dropna().astype(float)
    slack = 1e-9  # of rounding, where the interval has no width
    holds = rows[name].between(rows[low] - slack, rows[high] + slack)
    return bool(holds.all()) and len(rows) == frame[low].notna().sum()


def _numeric(values: pd.Series) -> bool:
    present = [one for one in values if not _missing(one)]
    kinds = (int, float, np.integer, np.floating)
    return bool(present) and all(
        isinstance(one, kinds) and not isinstance(one, bool) for one in present
    )


def _missing(value: object) -> bool:
    return not isinstance(value, list | np.ndarray) and bool(pd.isna(value))  # pyright: ignore


def head_of(column: Column, values: pd.Series) -> Head:
    """Make a column's head.

    Args:
        column: description of the column.
        values: its values.
    """
    if not _numeric(values):
        return Head(column.name.replace("_", " "), column.meaning, None)
    unit = display_unit(column, values)
    whole = unit.factor == 1 and all(float(one).is_integer() for one in values.dropna())
    is_count = whole and column.name.rpartition("_")[2] not in _IDS
    name = column_title(column, unit)
    return Head(name, column.meaning, unit, is_count, column.better or "")


def cell(head: Head, value: Any, low: Any = None, high: Any = None) -> Cell:
    """Make the cell of a value with its interval, if there is one."""
    if _missing(value):
        return Cell(MISSING)
    if head.unit is None:
        return Cell(number(value))
    factor, stored = head.unit.factor, f"{float(value):.9g}"
    plain = value if factor == 1 else factor * float(value)
    if not (_missing(low) or _missing(high)) and low != high:
        return Cell(interval(plain, factor * float(low), factor * float(high)), stored)
    text, exact = short(head, plain), number(plain)
    return Cell(text, stored, exact if text != exact else "")


def short(head: Head, value: Any) -> str:
    """Write a value without an interval; a size and a large count with three digits.

    Args:
        head: head of its column.
        value: number in the unit of the head.
    """
    if head.is_count:
        return compact(value)
    is_size = head.unit is not None and (head.unit.name or "").endswith("B")
    return three_digits(value) if is_size else number(value)


def compact(value: Any) -> str:
    """Write a whole number; a large one with three digits, such as 57.6k or 135M."""
    size = abs(float(value))
    if size < _LARGE:
        return number(int(value))
    unit, letter = next(one for one in _LETTERS if size >= 0.9995 * one[0])
    scaled = float(value) / unit
    return f"{scaled:.{max(0, 3 - len(f'{abs(scaled):.0f}'))}f}{letter}"


def three_digits(value: float) -> str:
    """Write a number with three significant digits, such as 0.0788 or 2,900."""
    return number(float(f"{value:.3g}"))


def ordered_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Put the column that names a row first, and leave out ids and what the name tells, too."""
    if "configuration" not in frame:
        return frame
    others = [one for one in frame.columns if one not in ("configuration", "run", "method")]
    return frame[["configuration", *others]]
