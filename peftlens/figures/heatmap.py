"""Heatmap: cells of a matrix, each with its number."""

import pandas as pd

from peftlens.figures.labels import axis_title, column, plain, point_label, shown
from peftlens.figures.spec import Axis, Plot
from peftlens.results.table import Chart, Table


def plot(table: Table, chart: Chart, frame: pd.DataFrame) -> Plot | None:
    """Plot one row per value of y and one column per value of x, in order of appearance.

    Rows of one cell, such as an encoder's and a decoder's, are averaged.

    Raises:
        ValueError: the chart names no column for the cells.
    """
    if chart.value is None:
        raise ValueError(f"chart {chart.title!r} is a heatmap but names no column as its value")
    if frame.empty:
        return None
    names = [chart.y, chart.x]
    values = frame.astype({chart.value: float}).groupby(names, sort=False, dropna=False)
    frame = values[chart.value].mean().reset_index()
    cells = frame.pivot(index=chart.y, columns=chart.x, values=chart.value)
    cells = cells.reindex(index=frame[chart.y].unique(), columns=frame[chart.x].unique())
    order = frame.sort_values(chart.value, kind="stable")
    unit = column(table, chart.value).unit
    lowest, highest = (
        f"{point_label(float(row[chart.value]), None, None, unit)} "
        f"({shown(chart.y, row[chart.y])}, {shown(chart.x, row[chart.x])})"
        for row in (order.iloc[0], order.iloc[-1])
    )
    return Plot(
        title=chart.title,
        finding=f"{axis_title(table, chart.value).capitalize()} from {lowest} to {highest}.",
        x=Axis(axis_title(table, chart.x), "names"),
        y=Axis(axis_title(table, chart.y), "names"),
        cells=tuple(tuple(plain(row)) for _, row in cells.iterrows()),
        columns=tuple(shown(chart.x, one) for one in cells.columns),
        rows=tuple(shown(chart.y, one) for one in cells.index),
    )
