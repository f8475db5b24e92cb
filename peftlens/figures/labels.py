"""What figures say: titles of axes, and the numbers of a mark."""

import pandas as pd

from peftlens.figures.spec import ColorS
from peftlens.numerics.rounding import interval
from peftlens.results.table import Chart, Column, Table, measured

KEYS = ("configuration", "configuration", "name")  # columns that say what a row belongs to


def column(table: Table, name: str) -> Column:
    """A column's description; its name says all of one that has none."""
    return next((one for one in table.columns if one.name == name), Column(name, name))


def axis_title(table: Table, name: str) -> str:
    """Such as "loss (nats per token)", and "step seconds", which says its unit itself."""
    words, unit = name.replace("_", " "), column(table, name).unit
    if unit in (None, "1") or words.endswith((" seconds", " bytes")):
        return words
    return f"{words} ({unit})"


def styles(table: Table, chart: Chart, names: list[str]) -> list[int]:
    """A style for each line: the same in all figures of a table that has few of them."""
    if chart.by is None:
        return [0] * len(names)
    every = list(dict.fromkeys(measured(table.frame)[chart.by].astype(str)))
    known = every if len(every) <= len(ColorS) else names
    return [known.index(name) for name in names]


def key(frame: pd.DataFrame, chart: Chart) -> pd.Series:
    """What each row belongs to, in words."""
    name = next((one for one in KEYS if one in frame), chart.by or chart.x)
    return frame[name].astype(str)


def ends(frame: pd.DataFrame, chart: Chart) -> tuple[list[float | None], list[float | None]]:
    """Lower and upper ends of a chart's intervals, None where there are none."""
    if chart.low is None or chart.high is None:
        return [None] * len(frame), [None] * len(frame)
    return plain(frame[chart.low]), plain(frame[chart.high])


def plain(values: pd.Series) -> list[float | None]:
    """Numbers as Python has them, None where one is missing."""
    return [None if pd.isna(one) else float(one) for one in values]


def point_label(value: float, low: float | None, high: float | None, unit: str | None) -> str:
    """A number with its interval and unit."""
    return interval(value, low, high) + ("" if unit in (None, "1") else f" {unit}")
