"""Labels of figures: titles of axes, names of marks, and numbers with their intervals."""

import pandas as pd

from peftlens.figures.method_styles import PLAIN, Style, method_style, other_style
from peftlens.figures.ticks import tick_label
from peftlens.numerics.rounding import interval, number
from peftlens.results import display_names
from peftlens.results.display_units import DisplayUnit, column_title
from peftlens.results.table import Chart, Column, Table, measured

KEYS = ("configuration", "name")  # columns that identify a row, most specific first


def column(table: Table, name: str) -> Column:
    """Find a column's description; without one, its name is the description."""
    return next((one for one in table.columns if one.name == name), Column(name, name))


def axis_title(table: Table, name: str) -> str:
    """Title of an axis, such as "loss (nats per token)"."""
    described = column(table, name)
    return column_title(described, DisplayUnit(None if described.unit == "1" else described.unit))


def shown(name: str, value: object) -> str:
    """Text of a value of a column: methods, configurations and metrics in words."""
    if name == "method":
        return display_names.method_name(str(value))
    if name == "measure":
        return display_names.metric_name(str(value))
    return display_names.display_name(str(value)) if name in display_names.KEYS else str(value)


def styles(table: Table, chart: Chart, names: list[str]) -> list[Style]:
    """Assign a style to each value of the chart's column `by`, the same in all its figures."""
    if chart.by is None:
        return [PLAIN for _ in names]
    looks = _styles(measured(table.frame), chart.by)
    return [looks[name] for name in names]


def _styles(frame: pd.DataFrame, by: str) -> dict[str, Style]:
    """Style each value of a column by its method, numbered among those of the method."""
    members: dict[str | None, list[str]] = {}
    for value, method in _methods_of(frame, by).items():
        members.setdefault(method, []).append(value)
    return {
        value: other_style(place) if method is None else method_style(method, place)
        for method, values in members.items()
        for place, value in enumerate(values)
    }


def _methods_of(frame: pd.DataFrame, by: str) -> dict[str, str | None]:
    """Return the only method of each value of a column, None where there is none or several."""
    values = frame[by].astype(str)
    if "method" not in frame:
        return {one: display_names.method_of(one) for one in dict.fromkeys(values)}
    of_value = frame.groupby(values, sort=False)["method"].unique()
    return {str(one): str(own[0]) if len(own) == 1 else None for one, own in of_value.items()}


def methods(frame: pd.DataFrame, chart: Chart) -> pd.Series:
    """Return the method of each row; empty where there is none."""
    if "method" in frame:
        return frame["method"].astype(object).fillna("").astype(str)
    found = [display_names.method_of(str(one)) or "" for one in key(frame, chart)]
    return pd.Series(found, index=frame.index)


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
    """Format a number with its unit: with its interval, or else to three significant digits."""
    words = interval(value, low, high) if low is not None and high is not None else _short(value)
    return words + ("" if unit in (None, "1") else f" {unit}")


def _short(value: float) -> str:
    rounded = float(f"{value:.3g}")
    return tick_label(rounded) if abs(rounded) >= 1e4 else number(rounded)
