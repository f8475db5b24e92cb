"""Specification of a figure: axes, series and cells, independent of the drawing library.

`plotly_figure` draws it with Plotly, `svg` as a static picture.
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from peftlens.figures.method_styles import COLORS, PLAIN, Style

MOST_DIRECT = 6  # lines that are labeled at their ends
ROOM = 16  # lines of text that fit between the lowest and the highest value


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
        style: color, mark and dash.
    """

    name: str
    x: tuple[float | str, ...]
    y: tuple[float | str, ...]
    keys: tuple[str, ...] = ()
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    labels: tuple[str, ...] = ()
    draws: Literal["marks", "joined", "line"] = "marks"
    style: Style = PLAIN


@dataclass(frozen=True)
class Axis:
    """An axis.

    Attributes:
        title: name of the quantity, with its unit.
        kind: kind of scale.
        names: names on an axis of names, from the top or left; by default in order of appearance.
    """

    title: str
    kind: Literal["number", "log", "names"] = "number"
    names: tuple[str, ...] = ()

    def place(self, value: float | str) -> float:
        """Position of a number along the axis, up to scale: its logarithm on a logarithmic one."""
        return math.log10(float(value)) if self.kind == "log" else float(value)


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

    @property
    def legend(self) -> tuple[Series, ...]:
        """Series that a legend names; a single unnamed series needs none."""
        return tuple(one for one in self.series if one.name)

    def shade(self, value: float) -> tuple[str, float]:
        """Color and opacity of a heatmap's cell; of values around zero, the sign has a color."""
        flat = [cell for row in self.cells for cell in row if cell is not None]
        low, high = min(flat), max(flat)
        if low < 0 < high:
            share = abs(value) / max(-low, high)
            return COLORS[0 if value >= 0 else 1], round(0.04 + 0.56 * share, 2)
        share = (value - low) / (high - low) if high > low else 0.5
        return COLORS[0], round(0.04 + 0.56 * share, 2)

    @property
    def labels_directly(self) -> bool:
        """Whether the ends of all lines lie far enough apart to be labeled there."""
        are_lines = all(one.draws != "marks" for one in self.legend) and self.y.kind != "names"
        if not are_lines or not 0 < len(self.legend) <= MOST_DIRECT:
            return False
        marks = [y for one in self.series for y in (*one.y, *one.low, *one.high) if y is not None]
        heights = [self.y.place(y) for y in marks]
        room = (max(heights) - min(heights)) / ROOM
        ends = sorted(self.y.place(one.y[-1]) for one in self.legend)
        return all(later - former >= room > 0 for former, later in pairwise(ends))

    def named(self, part: str) -> "Plot":
        """Copy the plot, with the name of a part appended to its title."""
        return replace(self, title=f"{self.title}: {part}")
