"""What a figure shows, in numbers and names, before anything draws it.

`interactive` makes a Plotly figure of it, `static` a picture that needs no script.
"""

from dataclasses import dataclass, replace
from typing import Literal

# Okabe & Ito's colors, which color-blind readers can tell apart; without yellow and black, one of
# which can't be seen on a page in light, the other not on one in dark mode.
ColorS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#808080")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "triangle-down")
DASHES = ("solid", "dash", "dot", "dashdot")
PLAIN = -1  # the style of what is drawn for comparison


@dataclass(frozen=True)
class Series:
    """Marks that belong together.

    Attributes:
        name: what the legend calls them; empty where they are all there is.
        x: where each mark is; names where the axis is one of names.
        y: the same.
        keys: what each mark belongs to, such as a configuration: shown when it is pointed at, and
            searched when a reader asks for some.
        low: lower ends of intervals, along the axis of numbers.
        high: upper ends.
        labels: what is written beside each.
        draws: marks, marks that a line joins, or a line alone.
        style: place in the lists of colors, shapes and dashes.
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
        """Never the only thing that tells it from the others."""
        return ColorS[self.style % len(ColorS)]

    @property
    def symbol(self) -> str:
        """Shape of a mark; with the color no two of 49 styles look alike."""
        return SYMBOLS[(self.style + self.style // len(ColorS)) % len(SYMBOLS)]

    @property
    def dash(self) -> str:
        """Of its line; changes once the colors are used up."""
        if self.style == PLAIN:
            return "dot"
        return DASHES[self.style // len(ColorS) % len(DASHES)]


@dataclass(frozen=True)
class Axis:
    """An axis.

    Attributes:
        title: what is measured, with its unit.
        kind: of its scale; names stand in the order in which they come, from the top or left.
    """

    title: str
    kind: Literal["number", "log", "names"] = "number"


@dataclass(frozen=True)
class Plot:
    """A figure.

    Attributes:
        title: what is drawn.
        finding: what it shows, in a sentence with the numbers.
        x: the horizontal axis.
        y: the vertical one.
        series: what is drawn; none in a heatmap.
        cells: values of a heatmap, a row for each name of y, a column for each of x.
        columns: names of a heatmap's columns.
        rows: names of its rows.
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
        """The same, of a part that its title names."""
        return replace(self, title=f"{self.title}: {part}")
