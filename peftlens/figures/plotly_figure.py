"""Plotly figure of a plot; text and grid take the page's colors, for light and dark mode."""

import html
from collections.abc import Iterator, Sequence
from typing import Any

import plotly.graph_objects as go

from peftlens.figures.method_styles import Style
from peftlens.figures.spec import Axis, Plot, Series
from peftlens.figures.svg import LEGEND, direct_width, folded, height, short, wrapped
from peftlens.figures.ticks import log_ticks, tick_label
from peftlens.io.escaping import visible


def figure(plot: Plot, *, legend: bool = True) -> go.Figure:
    """Make the Plotly figure; each trace's `customdata` identifies its marks.

    Args:
        plot: the plot.
        legend: whether series that are not labeled at their lines are named below.
    """
    named = plot.legend if legend and not plot.labels_directly else ()
    found = go.Figure(layout=_layout(plot, len(named)))
    for axis, letter, update in (
        (plot.x, "x", found.update_xaxes),
        (plot.y, "y", found.update_yaxes),
    ):
        values = [float(v) for one in plot.series for v in getattr(one, letter)
                  if axis.kind != "names"]  # fmt: skip
        update(axis_layout(axis, values))
    if plot.y.kind == "names":  # next to names, a narrow page has no room for a long title
        found.update_xaxes(title_text="<br>".join(map(_line, wrapped(plot.x.title))))
    if plot.y.kind == "names":
        found.update_yaxes(autorange="reversed")
    if plot.labels_directly:  # else the axis would stretch to hold the labels, too
        found.update_xaxes(range=_range(plot))
    if plot.cells:
        found.add_heatmap(
            z=plot.cells, x=[_line(n) for n in plot.columns], y=[_line(n) for n in plot.rows],
            texttemplate="%{z:.3g}", showscale=False, xgap=2, ygap=2,
            hovertemplate="%{y}, %{x}: %{z}<extra></extra>", **_shades(plot),
        )  # fmt: skip
    for one in plot.series:
        for trace in _traces(one, plot):
            found.add_scatter(**trace)
    return found


def _traces(one: Series, plot: Plot) -> Iterator[dict[str, Any]]:
    """Yield the traces of a series: its band, if any, then its marks."""
    names = plot.y.kind == "names"
    band = one.draws != "marks" and bool(one.low) and None not in (*one.low, *one.high)
    if band:
        yield {
            "x": [*one.x, *reversed(one.x)],
            "y": [*one.high, *reversed(one.low)],
            "fill": "toself", "fillcolor": _see_through(one.style.color), "mode": "none",
            "hoverinfo": "skip", "showlegend": False, "legendgroup": one.name,
            "name": _line(one.name), "meta": "band", "text": " ".join(map(_line, set(one.keys))),
        }  # fmt: skip
    style = one.style
    trace = {
        "x": one.x,
        "y": [_name(str(y)) for y in one.y] if names else one.y,
        "customdata": [_line(key) for key in one.keys] or None,
        "text": [_line(label) for label in one.labels] or None,
        "name": _line(one.name),
        "legendgroup": one.name,
        "mode": {"marks": "markers", "joined": "lines+markers", "line": "lines"}[one.draws]
        + ("+text" if one.labels else ""),
        **look(style),
        "textposition": "top right",
        "cliponaxis": False,
        "hovertemplate": _hover(one, names),
    }  # fmt: skip
    if one.low and not band:
        values = [float(v) for v in (one.x if names else one.y)]
        trace["error_x" if names else "error_y"] = {
            "array": _lengths(one.high, values, 1),
            "arrayminus": _lengths(one.low, values, -1),
            "color": style.color, "thickness": 1.5,
        }  # fmt: skip
    yield trace


def _lengths(
    ends: Sequence[float | None], values: Sequence[float], sign: int
) -> list[float | None]:
    return [
        None if end is None else sign * (end - value)
        for end, value in zip(ends, values, strict=True)
    ]


def _shades(plot: Plot) -> dict[str, Any]:
    """Return the colors of a heatmap, as `Plot.shade` gives them; text stays readable on them."""
    flat = [value for row in plot.cells for value in row if value is not None]
    low, high = min(flat), max(flat)
    if low < 0 < high:
        end = max(-low, high)
        colors = [[0, "rgba(213,94,0,0.6)"], [0.5, "rgba(128,128,128,0.04)"],
                  [1, "rgba(0,114,178,0.6)"]]  # fmt: skip
        return {"colorscale": colors, "zmin": -end, "zmax": end}
    return {"colorscale": [[0, "rgba(0,114,178,0.04)"], [1, "rgba(0,114,178,0.6)"]]}


def look(style: Style) -> dict[str, Any]:
    """Return Plotly's description of a style's mark and line."""
    symbol = style.symbol + ("-open" if style.is_open else "")
    return {
        "marker": {"color": style.color, "size": 9, "symbol": symbol},
        "line": {"color": style.color, "width": 2, "dash": style.dash},
    }


def _hover(one: Series, names: bool) -> str | None:
    """Show name, numbers and, in parentheses, the key in the study's file."""
    if not one.keys:
        return None
    first = "%{y}: %{x}" if names else "%{fullData.name}<br>%{x}, %{y}"
    return f"{first}<br>(%{{customdata}})<extra></extra>"


def _name(name: str) -> str:
    return "<br>".join(map(_line, folded(name)))


def _see_through(color: str) -> str:
    red, green, blue = (int(color[n : n + 2], 16) for n in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.15)"


def _line(text: str) -> str:
    """Escape text, in which Plotly would interpret markup."""
    return html.escape(visible(text), quote=False)


def _range(plot: Plot) -> list[float]:
    """Return the ends of the horizontal axis, with a margin on both sides."""
    places = [plot.x.place(x) for one in plot.series for x in one.x]
    room = 0.06 * (max(places) - min(places)) or 1.0
    return [min(places) - room, max(places) + room]


def axis_layout(axis: Axis, values: Sequence[float]) -> dict[str, Any]:
    """Return Plotly's description of an axis that holds these values."""
    kinds = {"number": "linear", "log": "log", "names": "category"}
    found: dict[str, Any] = {"type": kinds[axis.kind], "title": {"text": _line(axis.title)}}
    if axis.names:
        order = [_name(name) for name in axis.names]
        found |= {"categoryorder": "array", "categoryarray": order}
    if axis.kind != "names":
        found["tickangle"] = 0
    if axis.kind == "log":
        low, high = min(values), max(values)
        ticks = log_ticks(low / 1.2, high * 1.2) if low < high else [low]
        found |= {"tickvals": ticks, "ticktext": [tick_label(tick) for tick in ticks]}
    return found


def _layout(plot: Plot, n_named: int) -> go.Layout:
    axis = {"automargin": True, "zeroline": False, "gridcolor": "#8884", "title_standoff": 12,
            "exponentformat": "SI"}  # fmt: skip
    return go.Layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13},
        margin={"l": 8, "r": 40 + direct_width(plot), "t": 16, "b": 60 + LEGEND * n_named},
        height=height(plot, n_named > 0),
        hovermode="closest",
        showlegend=n_named > 0,
        # one line each, in reserved room: a legend that searches for room makes Plotly redraw
        legend={"yref": "container", "yanchor": "bottom", "y": 0, "x": 0, "xanchor": "left",
                "tracegroupgap": 0},
        annotations=[*_direct_labels(plot)],
        xaxis=axis,
        yaxis=axis,
    )  # fmt: skip


def _direct_labels(plot: Plot) -> Iterator[dict[str, Any]]:
    """Yield the names at the ends of lines, which a narrow page leaves out."""
    for one in plot.legend if plot.labels_directly else ():
        yield {
            "x": plot.x.place(one.x[-1]),
            "y": plot.y.place(one.y[-1]),
            "text": _line(short(one.name)),
            "name": _line(one.name),
            "showarrow": False, "xanchor": "left", "xshift": 8,
        }  # fmt: skip
