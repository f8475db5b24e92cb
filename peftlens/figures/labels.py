"""Labels of figures: titles of axes, names of marks, and numbers with their intervals."""

import pandas as pd

from peftlens.figures.spec import COLORS
from peftlens.numerics.rounding import interval
from peftlens.results.table import Chart, Column, Table, measured

KEYS = ("configuration", "name")  # columns that identify a row, most specific first


def column(table: Table, name: str) -> Column:
    """Find a column's description; without one, its name is the description."""
    return next((one for one in table.columns if one.name == name), Column(name, name))


def axis_title(table: Table, name: str) -> str:
    """Title of an axis: "loss (nats per token)", or "step seconds", whose unit is in its name."""
    words, unit = name.replace("_", " "), column(table, name).unit
    if unit in (None, "1") or words.endswith((" seconds", " bytes")):
        return words
    return f"{words} ({unit})"


def styles(table: Table, chart: Chart, names: list[str]) -> list[int]:
    """Assign a style to each line, the same in all figures of a table that has few lines."""
    if chart.by is None:
        return [0] * len(names)
    every = list(dict.fromkeys(measured(table.frame)[chart.by].astype(str)))
    order = every if len(every) <= len(COLORS) else names
    return [order.index(name) for name in names]


def key(frame: pd.DataFrame, chart: Chart) -> pd.Series:
    """Identify each row, by its configuration or name."""
    name = next((one for one in KEYS if one in frame), chart.by or chart.x)
    return frame[name].astype(str)


def ends(frame: pd.DataFrame, chart: Chart) -> tuple[list[float | None], list[float | None]]:
    """Return lower and upper ends of a chart's intervals, None where there are none."""
    if chart.low is None or chart.high is None:
        return [None] * len(frame), [None] * len(frame)
    return plain(frame[chart.low]), plain(frame[chart.high])


def plain(values: pd.Series) -> list[float | None]:
    """Convert to Python floats, None where a value is missing."""
    return [None if pd.isna(one) else float(one) for one in values]


def point_label(value: float, low: float | None, high: float | None, unit: str | None) -> str:
    """Format a number with its interval and unit."""
    return interval(value, low, high) + ("" if unit in (None, "1") else f" {unit}")
