"""Chart of two metrics that the reader chooses, with the Pareto front of the configurations.

The first choice is drawn as a picture; a script draws the others from the values on the page.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from peftlens.figures.labels import shown, styles
from peftlens.figures.method_styles import FRONT, REFERENCE, Style
from peftlens.figures.pareto import stairs, undominated
from peftlens.figures.plotly_figure import axis_layout, look
from peftlens.figures.spec import Axis, Plot, Series
from peftlens.io.escaping import visible
from peftlens.reports.figure import Figure, page_figure
from peftlens.reports.metric_text import column_of_metric
from peftlens.results.display_names import display_name
from peftlens.results.display_units import column_title, display_unit
from peftlens.results.table import Chart, Table

COST = "trainable parameters"  # horizontal axis of the first choice
LOG = 20  # ratio of the largest to the smallest value from which an axis is logarithmic
_ROWS = ["configuration", "task"]


@dataclass(frozen=True)
class Metric:
    """A metric that an axis can show.

    Attributes:
        axis: the axis.
        better: direction of better values; None without one.
        values: value of each configuration, in display units; None where it was not measured.
        low: lower ends of their intervals.
        high: upper ends of their intervals.
    """

    axis: Axis
    better: str | None
    values: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]


@dataclass(frozen=True)
class Chooser:
    """Chart whose axes the reader chooses.

    Attributes:
        figure: the first choice.
        titles: titles of the metrics, in order.
        x: index of the first horizontal axis.
        y: index of the first vertical axis.
        data: values of all metrics as JSON, for the page's script.
    """

    figure: Figure
    titles: tuple[str, ...]
    x: int
    y: int
    data: str


def axis_chooser(rows: pd.DataFrame, prefix: str = "") -> Chooser | None:
    """Make the chart; None unless two metrics have values of two configurations each.

    Args:
        rows: one row per configuration, task and metric; see `benchmark_table`.
        prefix: prefix of the id of the figure.
    """
    points = rows[[*_ROWS, "method"]].drop_duplicates(_ROWS, ignore_index=True)
    metrics = [_metric(part, points) for _, part in rows.groupby("metric", sort=False)]
    metrics = [one for one in metrics if sum(value is not None for value in one.values) > 1]
    if len(metrics) < 2:
        return None
    titles = tuple(one.axis.title for one in metrics)
    costs = [n for n, title in enumerate(titles) if title == COST and n]
    x, y = (costs or [1])[0], 0
    plot = pair_plot(points, metrics[x], metrics[y])
    return Chooser(page_figure(f"{prefix}compare", plot), titles, x, y, _data(points, metrics))


def _metric(part: pd.DataFrame, points: pd.DataFrame) -> Metric:
    column = column_of_metric(part)
    better = column.better if isinstance(column.better, str) else None
    unit = display_unit(column, part["mean"])
    of_point = part.drop_duplicates(_ROWS).set_index(_ROWS)
    found = of_point.reindex(pd.MultiIndex.from_frame(points[_ROWS]))
    numbers = {name: _rounded(unit.of(found[name])) for name in ("mean", "ci_low", "ci_high")}
    positive = [value for value in numbers["mean"] if value]
    is_log = bool(positive) and min(positive) > 0 and max(positive) >= LOG * min(positive)
    if is_log:  # an end at or below zero has no place on the axis
        numbers["ci_low"] = [end if end and end > 0 else None for end in numbers["ci_low"]]
    axis = Axis(column_title(column, unit), "log" if is_log else "number")
    return Metric(axis, better, *map(tuple, numbers.values()))


def _rounded(values: pd.Series) -> list[float | None]:
    return [None if pd.isna(one) else float(f"{one:.6g}") for one in values]


def pair_plot(points: pd.DataFrame, x: Metric, y: Metric) -> Plot:
    """Plot two metrics, a mark for each configuration, with the Pareto front.

    Args:
        points: configuration, task and method of each value.
        x: metric of the horizontal axis.
        y: metric of the vertical axis.
    """
    frame, across = _measured(points, x, y)
    looks = _looks(points)
    series = [
        _series(str(method), own, looks) for method, own in frame.groupby("method", sort=False)
    ]
    series += _across(across, frame)
    front = _front(frame, x.better, y.better)
    if len(front) > 1:
        steps = _steps(front, x.better, y.better)
        series.append(Series("Pareto front", *steps, draws="line", style=FRONT))
    return Plot(
        title=f"{y.axis.title} against {x.axis.title}",
        finding=_finding(frame, front),
        x=x.axis,
        y=y.axis,
        series=tuple(series),
    )


def _measured(points: pd.DataFrame, x: Metric, y: Metric) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows with a place on both axes, and those whose x is 0 on a logarithmic axis."""
    values = {"x": x.values, "y": y.values, "low": y.low, "high": y.high}
    numbers = pd.DataFrame({key: list(one) for key, one in values.items()}, index=points.index)
    frame = points.assign(name=_names(points)).join(numbers).dropna(subset=["x", "y"])
    across = frame[frame["x"].eq(0) & (x.axis.kind == "log")]
    frame = frame.drop(across.index)
    for name, axis in (("x", x.axis), ("y", y.axis)):
        frame = frame[(frame[name] > 0) | (axis.kind != "log")]
    return frame, across


def _names(points: pd.DataFrame) -> list[str]:
    names = [display_name(str(one)) for one in points["configuration"]]
    if points["task"].nunique() < 2:
        return names
    return [f"{name}, {task}" for name, task in zip(names, points["task"], strict=True)]


def _looks(points: pd.DataFrame) -> dict[str, Style]:
    names = list(dict.fromkeys(points["method"].astype(str)))
    chart = Chart("pareto", x="x", y="y", title="", by="method")
    return dict(zip(names, styles(Table("", 1, (), (), points), chart, names), strict=True))


def _series(method: str, own: pd.DataFrame, looks: Mapping[str, Style]) -> Series:
    return Series(
        name=shown("method", method),
        x=tuple(own["x"].astype(float)),
        y=tuple(own["y"].astype(float)),
        keys=tuple(own["name"]),
        low=tuple(_rounded(own["low"])),
        high=tuple(_rounded(own["high"])),
        style=looks[method],
    )


def _across(rows: pd.DataFrame, others: pd.DataFrame) -> list[Series]:
    """Draw rows across whose 0 has no place on a logarithmic axis, such as the untrained base."""
    if others.empty:
        return []
    ends = (float(others["x"].min()), float(others["x"].max()))
    return [
        Series(str(row["name"]), ends, (float(row["y"]),) * 2, draws="line", style=REFERENCE)
        for row in rows.to_dict("records")
    ]


def _signs(x_better: str | None, y_better: str | None) -> tuple[int, int]:
    """Return the factors after which less of x and more of y is better."""
    return -1 if x_better == "higher" else 1, -1 if y_better == "lower" else 1


def _front(frame: pd.DataFrame, x_better: str | None, y_better: str | None) -> pd.DataFrame:
    """Return the undominated rows from the best x on; none where a direction is unknown."""
    if x_better is None or y_better is None:
        return frame.iloc[:0]
    sx, sy = _signs(x_better, y_better)
    turned = frame.assign(
        turned_x=sx * frame["x"].astype(float), turned_y=sy * frame["y"].astype(float)
    )
    return undominated(turned, Chart("pareto", x="turned_x", y="turned_y", title=""))


def _steps(
    front: pd.DataFrame, x_better: str | None, y_better: str | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    sx, sy = _signs(x_better, y_better)
    across, up = stairs(list(front["turned_x"]), list(front["turned_y"]))
    return tuple(sx * value for value in across), tuple(sy * value for value in up)


def _finding(frame: pd.DataFrame, front: pd.DataFrame) -> str:
    if front.empty:
        return f"{len(frame)} configurations have both; one of the two has no better direction."
    return f"{len(front)} of {len(frame)} are on the Pareto front: {'; '.join(front['name'])}."


def _data(points: pd.DataFrame, metrics: list[Metric]) -> str:
    data: dict[str, Any] = {
        "metrics": [
            {
                "title": one.axis.title,
                "layout": axis_layout(one.axis, [v for v in one.values if v]),
                "better": one.better,
                "values": one.values,
                "low": one.low,
                "high": one.high,
            }
            for one in metrics
        ],
        "names": [visible(name) for name in _names(points)],
        "keys": [visible(str(one)) for one in points["configuration"]],
        "methods": [shown("method", str(one)) for one in points["method"]],
        "looks": {shown("method", name): look(style) for name, style in _looks(points).items()},
        "front": {"name": "Pareto front", **look(FRONT)},
        "across": look(REFERENCE),
    }
    return json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
