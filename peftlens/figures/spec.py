"""Specification of a figure: axes, series and cells, independent of the drawing library.

`plotly_figure` draws it with Plotly, `svg` as a static picture.
"""

from dataclasses import dataclass, replace
from typing import Literal

# Okabe & Ito's colors, which color-blind readers can distinguish; without yellow, invisible in
# light mode, and black, invisible in dark mode.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#808080")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "triangle-down")
DASHES = ("solid", "dash", "dot", "dashdot")
PLAIN = -1  # style of lines for comparison


@dataclass(frozen=True)
class Series:
    """A series of marks.

    Attributes:
        name: name in the legend; empty for the only series.
        x: horizontal positions; names on an axis of names.
        y: vertical positions; names on an axis of names.
        keys: identity of each mark, such as its configuration, for hovering and for filters.
        low: lower ends of intervals, along the numeric axis.
        high: upper ends of intervals, along the numeric axis.
        labels: text next to each mark.
        draws: "marks", "joined" (marks joined by a line) or "line" (a line alone).
        style: index into the lists of colors, shapes and dashes.
    """

    name: str
    x: tuple[float | str, ...]
    y: tuple[float | str, ...]
    keys: tuple[str, ...] = ()
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    labels: tuple[str, ...] = ()
    draws: Literal["marks", "joined", "line"] = "marks"
    style: int = 0

    @property
    def color(self) -> str:
        """Color, never the only difference from other series."""
        return COLORS[self.style % len(COLORS)]

    @property
    def symbol(self) -> str:
        """Shape of a mark; together with the color it distinguishes 49 styles."""
        return SYMBOLS[(self.style + self.style // len(COLORS)) % len(SYMBOLS)]

    @property
    def dash(self) -> str:
        """Dash pattern of the line; changes once all colors are used."""
        if self.style == PLAIN:
            return "dot"
        return DASHES[self.style // len(COLORS) % len(DASHES)]


@dataclass(frozen=True)
class Axis:
    """An axis.

    Attributes:
        title: name of the quantity, with its unit.
        kind: kind of scale; names are in order of appearance, from the top or left.
    """

    title: str
    kind: Literal["number", "log", "names"] = "number"


@dataclass(frozen=True)
class Plot:
    """A figure.

    Attributes:
        title: title of the figure.
        finding: main result, in one sentence with numbers.
        x: the horizontal axis.
        y: the vertical axis.
        series: the series; none in a heatmap.
        cells: values of a heatmap, shape (rows, columns).
        columns: names of a heatmap's columns.
        rows: names of a heatmap's rows.
    """

    title: str
    finding: str
    x: Axis
    y: Axis
    series: tuple[Series, ...] = ()
    cells: tuple[tuple[float | None, ...], ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()

    def named(self, part: str) -> "Plot":
        """Copy the plot, with the name of a part appended to its title."""
        return replace(self, title=f"{self.title}: {part}")
