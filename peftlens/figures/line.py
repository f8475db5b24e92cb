"""Line plot: lines with bands of intervals over a number, such as steps, layers or parameters."""

import pandas as pd

from peftlens.figures.labels import axis_title, column, key, plain, point_label, shown, styles
from peftlens.figures.method_styles import REFERENCE, Style
from peftlens.figures.spec import Axis, Plot, Series
from peftlens.results.display_names import display_name
from peftlens.results.table import Chart, Table


def plot(table: Table, chart: Chart, frame: pd.DataFrame) -> Plot | None:
    """Plot one line per value of the chart's column `by`; None if no line would have two marks.

    Rows of one line with the same x, such as seeds, are averaged, and the band is their range.
    Where there is one row at each x, the band is its interval. Rows that have no place on a
    logarithmic axis become horizontal lines, for comparison.
    """
    frame = frame.dropna(subset=[chart.x])
    across = frame[frame[chart.x].astype(float) <= 0] if chart.log_x else frame.iloc[:0]
    frame = frame.drop(across.index)
    groups = list(frame.groupby(chart.by, sort=False)) if chart.by else [("", frame)]
    looks = styles(table, chart, [str(name) for name, _ in groups])
    found = [
        _series(shown(chart.by or "", name), _means(rows, chart), style)
        for style, (name, rows) in zip(looks, groups, strict=True)
    ]
    if not any(len(set(one.x)) > 1 for one in found):
        return None
    found += _across(across, chart, [float(x) for one in found for x in one.x])
    return Plot(
        title=chart.title,
        finding=_finding(table, chart, found),
        x=Axis(axis_title(table, chart.x), "log" if chart.log_x else "number"),
        y=Axis(axis_title(table, chart.y)),
        series=tuple(found),
    )


def _means(frame: pd.DataFrame, chart: Chart) -> pd.DataFrame:
    """Average the rows at each x, in order of x."""
    marks = pd.DataFrame(
        {
            "x": frame[chart.x].astype(float).to_numpy(),
            "y": frame[chart.y].astype(float).to_numpy(),
            "key": key(frame, chart).to_numpy(),
            "label": (frame[chart.text] if chart.text else frame[chart.y]).to_numpy(),
        }
    )
    marks["low"] = frame[chart.low].to_numpy() if chart.low else marks["y"]
    marks["high"] = frame[chart.high].to_numpy() if chart.high else marks["y"]
    each = marks.groupby("x", sort=True)
    means = each.agg(y=("y", "mean"), key=("key", "first"), label=("label", "first"))
    single = each.size() == 1
    means["low"] = each["low"].first().where(single, each["y"].min())
    means["high"] = each["high"].first().where(single, each["y"].max())
    means["label"] = [f"{chart.text} {one}" for one in means["label"]] if chart.text else ""
    return means.reset_index()


def _series(name: str, rows: pd.DataFrame, style: Style) -> Series:
    low, high = plain(rows["low"]), plain(rows["high"])
    banded = low != high
    return Series(
        name=name,
        x=tuple(rows["x"]),
        y=tuple(rows["y"]),
        keys=tuple(rows["key"]),
        low=tuple(low) if banded else (),
        high=tuple(high) if banded else (),
        labels=tuple(rows["label"]) if rows["label"].any() else (),
        draws="joined",
        style=style,
    )


def _across(rows: pd.DataFrame, chart: Chart, xs: list[float]) -> list[Series]:
    """Make horizontal lines of rows whose x can't be drawn."""
    ends = (min(xs), max(xs))
    keys = key(rows, chart)
    means = rows.groupby(keys, sort=False)[chart.y].mean() if len(rows) else {}
    return [
        Series(display_name(str(name)), ends, (float(y),) * 2, (str(name),) * 2, draws="line",
               style=REFERENCE)
        for name, y in means.items()
    ]  # fmt: skip


def _finding(table: Table, chart: Chart, found: list[Series]) -> str:
    """Where the lines end, or what one line goes through."""
    unit = column(table, chart.y).unit
    words = axis_title(table, chart.x)
    joined = [one for one in found if one.draws == "joined"]
    joined = [one for one in joined if one.style != REFERENCE] or joined
    if len(joined) == 1:
        (one,) = joined
        first, last = (_at(one, n, unit) for n in (0, -1))
        return f"From {first} to {last}, as {words} goes from {one.x[0]:,g} to {one.x[-1]:,g}."
    ends = sorted(joined, key=lambda one: float(one.y[-1]))
    lowest, highest = (f"{one.name}, {_at(one, -1, unit)}" for one in (ends[0], ends[-1]))
    if ends[0].y[-1] == ends[-1].y[-1]:
        return f"All {len(joined)} end at {point_label(float(ends[0].y[-1]), None, None, unit)}."
    return f"Highest of {len(joined)} at the end: {highest}; lowest: {lowest}."


def _at(one: Series, place: int, unit: str | None) -> str:
    low, high = (ends[place] if ends else None for ends in (one.low, one.high))
    return point_label(float(one.y[place]), low, high, unit)
