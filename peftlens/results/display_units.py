"""Display units: bytes as MB, shares as %, seconds as the unit in which they are short.

Tables on disk keep bytes, seconds and shares between 0 and 1.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from peftlens.results.table import Column

# value from which a unit is used, its size, its name; MB has a wide range, so that pages do not mix
_BYTES = ((1e10, 1e9, "GB"), (1e5, 1e6, "MB"), (1e3, 1e3, "kB"))
_SECONDS = ((7200.0, 3600.0, "h"), (120.0, 60.0, "min"), (0.1, 1.0, "s"), (0.0, 1e-3, "ms"))
_SHARE = re.compile(r"(mean |cumulative )?(share|accuracy)\b")
_SHARE_NAME = re.compile(r"\b(accuracy|share)\b")
_DIFFERENCE = re.compile(r"\b(change|difference|diff|gain|transfer|forgotten)\b")


@dataclass(frozen=True)
class DisplayUnit:
    """Unit in which a column's values are shown.

    Attributes:
        name: name of the unit; None for dimensionless numbers.
        factor: factor from the column's unit to this one.
    """

    name: str | None
    factor: float = 1.0

    def of(self, values: pd.Series) -> pd.Series:
        """Convert values of the column, as floats; missing ones stay missing."""
        return values.astype("Float64").astype(float) * self.factor


def display_unit(column: Column, values: Iterable[float]) -> DisplayUnit:
    """Choose the unit in which the largest value of a column is short.

    Args:
        column: description of the column.
        values: values that are shown together; missing ones are ignored.
    """
    largest = max((abs(float(value)) for value in values if pd.notna(value)), default=0.0)
    if column.unit in ("bytes", "s"):
        units = _BYTES if column.unit == "bytes" else _SECONDS
        found = (DisplayUnit(name, 1 / size) for least, size, name in units if largest >= least)
        return next(found, DisplayUnit(column.unit))
    if is_share(column):
        difference = _DIFFERENCE.search(column.name.replace("_", " "))
        return DisplayUnit("points" if difference else "%", 100.0)
    return DisplayUnit(None if column.unit == "1" else column.unit)


def is_share(column: Column) -> bool:
    """Whether a column holds shares between 0 and 1, or differences of shares; p-values do not."""
    words = column.name.replace("_", " ")
    if column.unit != "1" or words == "p" or words.startswith("p "):
        return False
    return bool(_SHARE.match(column.meaning) or _SHARE_NAME.search(words))


def column_title(column: Column, unit: DisplayUnit) -> str:
    """Title of an axis, or head of a column: "peak memory (MB)", "step time (s)"."""
    words = column.name.replace("_", " ").removesuffix(" bytes")
    if words.endswith(" seconds"):
        words = f"{words.removesuffix(' seconds')} time"
    return words if unit.name in (None, f"{words}s") else f"{words} ({unit.name})"
