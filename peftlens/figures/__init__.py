"""Figures: plots of the charts of result tables, each small enough to be readable.

A figure with more names or lines than a reader can follow becomes several, by method.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from math import ceil
from typing import Any

import pandas as pd

from peftlens.figures import heatmap, intervals, line, pareto
from peftlens.figures.labels import shown
from peftlens.figures.spec import Plot
from peftlens.results.display_units import display_unit
from peftlens.results.table import Chart, Table, last_steps, measured

_BUILD: dict[str, Callable[[Table, Chart, pd.DataFrame], Plot | None]] = {
    "points": intervals.plot,
    "line": line.plot,
    "pareto": pareto.plot,
    "heatmap": heatmap.plot,
}
MOST_ROWS = 16  # rows of a heatmap; a larger one is a table
LINES = 8  # lines in one figure
_MOST = {"points": 24, "line": LINES}  # names or lines in one figure


def plots(table: Table, chart: Chart, most: int | None = None) -> list[Plot]:
    """Make the chart's figures: one, or one for each value of its column `each`.

    Rows that were not measured are left out. Empty figures, and kinds of charts from later
    versions, are not drawn.

    Args:
        table: table with the chart.
        chart: one of its charts.
        most: largest number of figures; None for all.

    Raises:
        KeyError: the chart names a column that the table does not have.
    """
    if chart.kind not in _BUILD:
        return []
    table, frame = _in_display_units(table, _drawn(table.frame, chart), chart)
    figures = []
    for names, part in islice(_parts(frame, chart), most):
        plot = _BUILD[chart.kind](table, chart, part)
        for name in names:
            plot = plot and plot.named(name)
        if plot:
            figures.append(plot)
    return figures


def _drawn(frame: pd.DataFrame, chart: Chart) -> pd.DataFrame:
    frame = measured(frame).dropna(subset=[chart.value or chart.y])
    if chart.kind == "heatmap" and frame[chart.y].nunique() > MOST_ROWS:
        return frame.iloc[:0]
    if chart.kind == "points" and chart.log_x:
        frame = frame[frame[chart.y].astype(float) > 0]
    if chart.kind == "line" and chart.x == "step":
        return _with_steps(frame, chart)
    return last_steps(frame) if "step" in frame and chart.x != "step" else frame


def _with_steps(frame: pd.DataFrame, chart: Chart) -> pd.DataFrame:
    """Select the lines with several steps; the last step of the others is in other charts."""
    if chart.by is None:
        return frame
    steps = frame.groupby(frame[chart.by].astype(str))["step"].transform("nunique")
    return frame[steps > 1]


def _in_display_units(
    table: Table, frame: pd.DataFrame, chart: Chart
) -> tuple[Table, pd.DataFrame]:
    """Convert the numbers that the chart draws, and the descriptions of their columns."""
    columns = {column.name: column for column in table.columns}
    drawn = {"points": (chart.y,), "heatmap": (chart.value,)}.get(chart.kind, (chart.x, chart.y))
    for name in drawn:
        if name is None or name not in columns:
            continue
        unit = display_unit(columns[name], frame[name])
        ends = (chart.low, chart.high) if name == chart.y else ()
        converted = {one: unit.of(frame[one]) for one in (name, *ends) if one}
        frame = frame.assign(**converted) if unit.factor != 1 else frame
        columns[name] = replace(columns[name], unit=unit.name)
    return replace(table, columns=tuple(columns.values())), frame


def _parts(frame: pd.DataFrame, chart: Chart) -> Iterator[tuple[list[str], pd.DataFrame]]:
    """Yield the rows of each figure, with the parts of its title."""
    for each, part in _groups(frame, chart.each):
        for names, some in _readable(part, chart):
            yield [*each, *names], some


def _groups(frame: pd.DataFrame, column: str | None) -> Iterator[tuple[list[str], pd.DataFrame]]:
    if column is None:
        yield [], frame
    else:
        for value, part in frame.groupby(column, sort=False):
            yield [shown(column, value)], part


def _readable(frame: pd.DataFrame, chart: Chart) -> Iterator[tuple[list[str], pd.DataFrame]]:
    column, most = chart.by if chart.kind == "line" else chart.x, _MOST.get(chart.kind)
    if column is None or most is None or frame[column].nunique() <= most:
        yield [], frame
        return
    for title, names in packed(frame, column, most):
        yield [title], frame[frame[column].isin(names)]


def packed(frame: pd.DataFrame, column: str, most: int) -> Iterator[tuple[str, list[Any]]]:
    """Pack names of rows or lines into figures, keeping methods whole where they fit.

    Args:
        frame: rows, with their method if they have one.
        column: column of the names.
        most: largest number of names in a figure.

    Yields:
        Title and names of each figure.
    """
    methods: list[str] = []
    names: list[Any] = []
    for method, part in frame.groupby("method" if "method" in frame else column, sort=False):
        of_method = list(part[column].unique())
        if names and len(names) + len(of_method) > most:
            yield _span(methods), names
            methods, names = [], []
        n = ceil(len(of_method) / most)
        if n > 1:
            for i in range(n):
                share = of_method[i * len(of_method) // n : (i + 1) * len(of_method) // n]
                yield f"{shown('method', method)}, {i + 1} of {n}", share
        else:
            methods.append(shown("method", method))
            names += of_method
    if names:
        yield _span(methods), names


def _span(methods: list[str]) -> str:
    return ", ".join(methods) if len(methods) <= 3 else f"{methods[0]} to {methods[-1]}"
