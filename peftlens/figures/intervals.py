"""Interval (forest) plot: names on the y axis, marks with confidence intervals on the x axis."""

from collections.abc import Iterator

import pandas as pd

from peftlens.figures.labels import (
    axis_title,
    column,
    ends,
    key,
    methods,
    plain,
    point_label,
    shown,
)
from peftlens.figures.method_styles import PLAIN, REFERENCES, method_style
from peftlens.figures.spec import Axis, Plot, Series
from peftlens.results.table import Chart, Table

MANY = 8  # largest number of rows per name that a reader can distinguish
NONE = 1e-3  # share of the largest value below which a reference's is none, as of changes
INNER = (0.05, 0.95)  # quantiles that summarize more rows


def plot(table: Table, chart: Chart, frame: pd.DataFrame) -> Plot | None:
    """Plot one mark per row, or one per name with the spread of its rows."""
    if chart.log_x:  # references such as an empty adapter file would stretch the axis
        frame = frame[~methods(frame, chart).isin(REFERENCES)]
    if frame.empty:
        return None
    rows, title = _without_copies(_marks(frame, chart)), chart.title
    if rows["name"].value_counts().max() > MANY:
        rows, title = _spread(rows), f"{title} (median and middle 90 % of the rows of each)"
    names = tuple(dict.fromkeys(rows["name"]))
    return Plot(
        title=title,
        finding=_finding(table, chart, rows),
        x=_axis(table, chart, rows),
        y=Axis("", "names", names),
        series=tuple(_series(rows)),
    )


def _axis(table: Table, chart: Chart, rows: pd.DataFrame) -> Axis:
    ends = [float(end) for name in ("value", "low") for end in rows[name].dropna()]
    return Axis(axis_title(table, chart.y), "log" if chart.log_x and min(ends) > 0 else "number")


def _series(rows: pd.DataFrame) -> Iterator[Series]:
    """Yield the marks of each method, in its color."""
    for method, own in rows.groupby("method", sort=False):
        yield Series(
            name="",
            x=tuple(own["value"]),
            y=tuple(own["name"]),
            keys=tuple(own["key"]),
            low=tuple(plain(own["low"])),
            high=tuple(plain(own["high"])),
            style=method_style(str(method)) if method else PLAIN,
        )


def _marks(frame: pd.DataFrame, chart: Chart) -> pd.DataFrame:
    low, high = ends(frame, chart)
    return pd.DataFrame(
        {
            "name": [shown(chart.x, one) for one in frame[chart.x]],
            "key": key(frame, chart).to_numpy(),
            "method": methods(frame, chart).to_numpy(),
            "value": frame[chart.y].astype(float).to_numpy(),
            "low": low,
            "high": high,
        }
    )


def _without_copies(marks: pd.DataFrame) -> pd.DataFrame:
    """Keep one mark of each name whose marks are all the same, such as facts about the base."""
    values = ["value", "low", "high"]
    copies = marks.groupby("name", sort=False)[values].transform("nunique").max(axis=1) <= 1
    return marks[~(copies & marks.duplicated("name"))]


def _spread(marks: pd.DataFrame) -> pd.DataFrame:
    groups = marks.groupby(["name", "key", "method"], sort=False)["value"]
    summary = groups.agg(
        value="median", low=lambda v: v.quantile(INNER[0]), high=lambda v: v.quantile(INNER[1])
    )
    return summary.reset_index()


def _finding(table: Table, chart: Chart, rows: pd.DataFrame) -> str:
    """Describe the highest and the lowest value; of names with several marks, their medians.

    References, such as the untrained base, are described after the others.
    """
    described = column(table, chart.y)
    unit = described.unit
    is_reference = rows["method"].isin(REFERENCES)
    ranked = rows if is_reference.all() else rows[~is_reference]
    order = ranked.groupby("name", sort=False)["value"].median()
    others = rows.drop(ranked.index)
    rest = _references(others[others["value"].abs() > NONE * order.abs().max()], unit)
    if len(order) == 1:
        return f"{order.index[0]}: {_value(rows, order.index[0], unit)}{rest}."
    lowest, highest = (
        f"{name}, {_value(rows, name, unit)}" for name in (order.idxmin(), order.idxmax())
    )
    if order.nunique() == 1:
        return f"All {len(order)} are the same: {point_label(order.iloc[0], None, None, unit)}."
    if described.better == "higher":
        return f"Best of {len(order)}: {highest}; last: {lowest}{rest}."
    if described.better == "lower":
        return f"Best of {len(order)}: {lowest}; last: {highest}{rest}."
    return f"Highest of {len(order)}: {highest}; lowest: {lowest}{rest}."


def _references(rows: pd.DataFrame, unit: str | None) -> str:
    names = rows["name"].unique()
    return "".join(f"; {name}: {_value(rows, name, unit)}" for name in names)


def _value(rows: pd.DataFrame, name: object, unit: str | None) -> str:
    marks = rows[rows["name"] == name]
    if len(marks) == 1:
        row = marks.iloc[0]
        return point_label(row["value"], row["low"], row["high"], unit)
    return f"{point_label(marks['value'].median(), None, None, unit)}, the median of {len(marks)}"
