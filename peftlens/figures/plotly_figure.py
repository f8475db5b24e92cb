"""Plotly figure of a plot; text and grid take the page's colors, for light and dark mode."""

import html
from collections.abc import Iterator, Sequence
from typing import Any

import plotly.graph_objects as go

from peftlens.figures.spec import PLAIN, Axis, Plot, Series
from peftlens.figures.svg import LEGEND, folded, height
from peftlens.io.escaping import visible

_SHADE = [[0, "rgba(0,114,178,0.04)"], [1, "rgba(0,114,178,0.6)"]]  # text stays readable on it


def figure(plot: Plot) -> go.Figure:
    """Make the Plotly figure; each trace's `customdata` identifies its marks."""
    found = go.Figure(layout=_layout(plot))
    for axis, update in ((plot.x, found.update_xaxes), (plot.y, found.update_yaxes)):
        update(_axis(axis))
    if plot.y.kind == "names":
        found.update_yaxes(autorange="reversed")
    if plot.cells:
        found.add_heatmap(
            z=plot.cells, x=[_line(n) for n in plot.columns], y=[_line(n) for n in plot.rows],
            texttemplate="%{z:.3g}", colorscale=_SHADE, showscale=False, xgap=2, ygap=2,
            hovertemplate="%{y}, %{x}: %{z}<extra></extra>",
        )  # fmt: skip
    for one in plot.series:
        for trace in _traces(one, plot):
            found.add_scatter(**trace)
    if plot.x.kind == "log":  # the values themselves are more informative than powers of ten
        values = sorted({float(x) for one in plot.series for x in one.x})
        if len(values) <= 5:
            found.update_xaxes(tickvals=values, tickformat=".3~s")
        else:  # between decades too, where there is room on a narrow page
            found.update_xaxes(dtick="D2" if values[-1] < 100 * values[0] else 1)
    return found


def _traces(one: Series, plot: Plot) -> Iterator[dict[str, Any]]:
    """Yield the traces of a series: its band, if any, then its marks."""
    names = plot.y.kind == "names"
    band = one.draws == "joined" and bool(one.low) and None not in (*one.low, *one.high)
    if band:
        yield {
            "x": [*one.x, *reversed(one.x)],
            "y": [*one.high, *reversed(one.low)],
            "fill": "toself", "fillcolor": _see_through(one.color), "mode": "none",
            "hoverinfo": "skip", "showlegend": False, "legendgroup": one.name,
            "name": _line(one.name), "meta": "band",
        }  # fmt: skip
    color = "#808080" if one.style == PLAIN else one.color
    trace = {
        "x": one.x,
        "y": ["<br>".join(map(_line, folded(str(y)))) for y in one.y] if names else one.y,
        "customdata": [_line(key) for key in one.keys] or None,
        "text": [_line(label) for label in one.labels] or None,
        "name": _line(one.name),
        "legendgroup": one.name,
        "mode": {"marks": "markers", "joined": "lines+markers", "line": "lines"}[one.draws]
        + ("+text" if one.labels else ""),
        "marker": {"color": color, "size": 9, "symbol": one.symbol},
        "line": {"color": color, "width": 2, "dash": one.dash},
        "textposition": "top right",
        "cliponaxis": False,
        "hovertemplate": "%{customdata}<br>%{x}, %{y}<extra></extra>" if one.keys else None,
    }
    if one.low and not band:
        values = [float(v) for v in (one.x if names else one.y)]
        trace["error_x" if names else "error_y"] = {
            "array": _lengths(one.high, values, 1),
            "arrayminus": _lengths(one.low, values, -1),
            "color": color, "thickness": 1.5,
        }  # fmt: skip
    yield trace


def _lengths(
    ends: Sequence[float | None], values: Sequence[float], sign: int
) -> list[float | None]:
    return [
        None if end is None else sign * (end - value)
        for end, value in zip(ends, values, strict=True)
    ]


def _see_through(color: str) -> str:
    red, green, blue = (int(color[n : n + 2], 16) for n in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.15)"


def _line(text: str) -> str:
    """Escape text, in which Plotly would interpret markup."""
    return html.escape(visible(text), quote=False)


def _axis(axis: Axis) -> dict[str, Any]:
    kinds = {"number": "linear", "log": "log", "names": "category"}
    return {"type": kinds[axis.kind], "title": _line(axis.title) or None}


def _layout(plot: Plot) -> go.Layout:
    named = [one for one in plot.series if one.name]
    axis = {"automargin": True, "zeroline": False, "gridcolor": "#8884", "title_standoff": 12,
            "exponentformat": "SI"}  # fmt: skip
    return go.Layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13},
        margin={"l": 8, "r": 40, "t": 16, "b": 60 + LEGEND * len(named)},
        height=height(plot),
        hovermode="closest",
        showlegend=bool(named),
        # one line each, in reserved room: a legend that searches for room makes Plotly redraw
        legend={"yref": "container", "yanchor": "bottom", "y": 0, "x": 0, "xanchor": "left",
                "tracegroupgap": 0},
        xaxis=axis,
        yaxis=axis,
    )  # fmt: skip
