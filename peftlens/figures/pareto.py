"""Pareto plot: cost against gain, with the Pareto front of undominated rows."""

import pandas as pd

from peftlens.figures.labels import axis_title, ends, key, shown, styles
from peftlens.figures.method_styles import FRONT, Style
from peftlens.figures.spec import Axis, Plot, Series
from peftlens.results.display_names import display_name
from peftlens.results.table import Chart, Table


def plot(table: Table, chart: Chart, frame: pd.DataFrame) -> Plot | None:
    """Plot cost x (less is better) against gain y; a logarithmic axis leaves out rows of cost 0."""
    frame = frame.dropna(subset=[chart.x])
    costs = frame[chart.x].astype(float)
    frame = frame[costs > 0] if chart.log_x else frame
    if len(frame) < 2:
        return None
    groups = list(frame.groupby(chart.by, sort=False)) if chart.by else [("", frame)]
    looks = styles(table, chart, [str(name) for name, _ in groups])
    found = [
        _series(shown(chart.by or "", name), rows, chart, style)
        for style, (name, rows) in zip(looks, groups, strict=True)
    ]
    front = undominated(frame, chart)
    steps = stairs(list(front[chart.x].astype(float)), list(front[chart.y].astype(float)))
    line = Series(name="Pareto front", x=steps[0], y=steps[1], draws="line", style=FRONT)
    names = ", ".join(_named(front, chart))
    return Plot(
        title=chart.title,
        finding=f"{len(front)} of {len(frame)} are on the front: {names}.",
        x=Axis(axis_title(table, chart.x), "log" if chart.log_x else "number"),
        y=Axis(axis_title(table, chart.y)),
        series=(*found, line),
    )


def undominated(frame: pd.DataFrame, chart: Chart) -> pd.DataFrame:
    """Return the rows on the Pareto front, sorted by x.

    A row is on the front if no other has at most its x and a larger y; of equal rows the first is.
    """
    order = frame.sort_values([chart.x, chart.y], ascending=[True, False], kind="stable")
    gains = order[chart.y].astype(float)
    return order[gains > gains.cummax().shift(fill_value=-float("inf"))]


def _named(front: pd.DataFrame, chart: Chart) -> list[str]:
    """Name the front's rows, with the share of draws in which each is on the front, if any."""
    names = [display_name(one) for one in key(front, chart)]
    if chart.text is None:
        return names
    shares = front[chart.text].astype(float)
    return [
        name if pd.isna(share) else f"{name} ({share:.0%} of draws)"
        for name, share in zip(names, shares, strict=True)
    ]


def stairs(x: list[float], y: list[float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Step function of the best gain up to each cost."""
    across = [x[0], *(value for value in x[1:] for _ in range(2))]
    up = [*(value for value in y[:-1] for _ in range(2)), y[-1]]
    return tuple(across), tuple(up)


def _series(name: str, rows: pd.DataFrame, chart: Chart, style: Style) -> Series:
    low, high = ends(rows, chart)
    return Series(
        name=name,
        x=tuple(rows[chart.x].astype(float)),
        y=tuple(rows[chart.y].astype(float)),
        keys=tuple(key(rows, chart)),
        low=tuple(low),
        high=tuple(high),
        style=style,
    )
