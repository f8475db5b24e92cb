"""Draw charts of result tables with Plotly, in one visual style.

Colours of text and grid are left to the page, so that one figure serves light and dark mode.
"""

import html
import re

import pandas as pd
import plotly.graph_objects as go

from peftlens.table import Chart, Column, Table

COLOUR = "#0072B2"  # of Okabe & Ito's colours, which colour-blind readers can tell apart
LINE_HEIGHT, ROW_GAP = 17, 8  # px of a configuration's name in a chart of points


def draw(table: Table, chart: Chart) -> dict[str, go.Figure]:
    """Figures by their titles: one, or one for each value of the chart's column `each`.

    Rows that were not measured are left out.

    Raises:
        KeyError: the chart names a column that the table does not have.
    """
    frame = _drawn(table.frame, chart)
    if chart.each is None:
        return {chart.title: _figure(table, chart, frame)}
    frame = frame.dropna(subset=chart.y)
    return {
        f"{chart.title}: {value}": _figure(table, chart, rows)
        for value, rows in frame.groupby(chart.each, sort=False)
    }


def _figure(table: Table, chart: Chart, frame: pd.DataFrame) -> go.Figure:
    figure = go.Figure(layout=_layout(table, chart))
    if chart.kind == "points":
        # names are long and numbers short: names go down the side
        names = frame[chart.x].map(_folded)
        figure.add_scatter(x=frame[chart.y], y=names,
                           error_x=_error(frame, chart),
                           **_marks("markers", frame, chart))  # fmt: skip
        figure.update_yaxes(autorange="reversed", title=None, type="category")
        figure.update_xaxes(title=_title(table, chart.y))
        lines = 1 + max([1, *names.str.count("<br>")])
        row = ROW_GAP + LINE_HEIGHT * lines
        figure.update_layout(height=130 + row * names.nunique())
    else:
        frame = _apart(frame, chart)
        figure.add_scatter(x=frame[chart.x], y=frame[chart.y], error_y=_error(frame, chart),
                           **_marks("lines+markers+text", frame, chart))  # fmt: skip
        figure.update_xaxes(title=_title(table, chart.x), type="log" if chart.log_x else "linear")
        if chart.log_x:  # the values themselves say more than powers of ten
            figure.update_xaxes(tickvals=sorted(set(frame[chart.x].dropna())), tickformat=".3~s")
        figure.update_yaxes(title=_title(table, chart.y))
        figure.update_layout(height=380)
    return figure


def _apart(frame: pd.DataFrame, chart: Chart) -> pd.DataFrame:
    """With an empty row behind each run's, where Plotly ends a line."""
    if "run" not in frame or frame["run"].nunique() < 2:
        return frame
    columns = [name for name in (chart.x, chart.y, chart.low, chart.high) if name]
    frame = frame.astype(dict.fromkeys(columns, float))
    runs = [rows for _, rows in frame.groupby("run", sort=False)]
    gaps = [rows.tail(1).assign(**dict.fromkeys(columns, float("nan"))) for rows in runs]
    return pd.concat([part for pair in zip(runs, gaps, strict=True) for part in pair])


def _drawn(frame: pd.DataFrame, chart: Chart) -> pd.DataFrame:
    if "status" in frame:
        frame = frame[frame["status"] == "measured"]
    return last_steps(frame) if "step" in frame and chart.x != "step" else frame


def last_steps(frame: pd.DataFrame) -> pd.DataFrame:
    """Of a table with a row per checkpoint, the rows of each run's last one."""
    return frame[frame["step"] == frame.groupby("run")["step"].transform("max")]


def _folded(name: object) -> str:
    """A configuration, a line a hyperparameter, literally: Plotly would read markup in it."""
    return re.sub(r" (?=\w+=)", "<br>", html.escape(str(name), quote=False))


def _marks(mode: str, frame: pd.DataFrame, chart: Chart) -> dict:
    named = chart.text is not None
    return {
        "mode": mode,
        "marker": {"color": COLOUR, "size": 9},
        "line": {"color": COLOUR, "width": 2, "dash": "dot"},
        "text": [f"{chart.text} {value}" for value in frame[chart.text]] if named else None,
        "textposition": "bottom right",
        "cliponaxis": False,
        "hovertemplate": "%{x}, %{y}<extra></extra>",
    }


def _error(frame: pd.DataFrame, chart: Chart) -> dict | None:
    if chart.low is None or chart.high is None:
        return None
    value = frame[chart.y].astype(float)
    return {
        "array": frame[chart.high].astype(float) - value,
        "arrayminus": value - frame[chart.low].astype(float),
        "color": COLOUR,
        "thickness": 1.5,
    }


def _title(table: Table, name: str) -> str:
    column = next((c for c in table.columns if c.name == name), Column(name, name))
    words = name.replace("_", " ")
    return words if column.unit in (None, "1") else f"{words} ({column.unit})"


def _layout(table: Table, chart: Chart) -> go.Layout:
    axis = {"automargin": True, "zeroline": False, "gridcolor": "#8884", "title_standoff": 12}
    return go.Layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13},
        margin={"l": 8, "r": 40, "t": 16, "b": 48},
        showlegend=False,
        xaxis=axis,
        yaxis=axis,
        meta={"table": table.name, "chart": chart.title},
    )
