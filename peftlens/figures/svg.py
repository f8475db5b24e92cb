"""SVG picture of a plot, for print and for readers who allow no scripts.

Written directly, because Matplotlib, the alternative without a browser, takes 90 MB on disk, half a
second to load, and 50 ms and 30 kB per figure, of which a report has many.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from peftlens.figures.marks import mark, stroke, text
from peftlens.figures.spec import Axis, Plot, Series
from peftlens.figures.svg_cells import cells, cells_height
from peftlens.figures.ticks import log_ticks, number_ticks, tick_label
from peftlens.io.escaping import visible

LINE, GAP = 17, 8  # height of a name's line and gap between names, px
LONGEST = 28  # maximum letters in a name's line, where the name can be broken
SHORT = 18  # letters of an axis title that fit beside names on a narrow page
LEGEND = 22  # height of a line of the legend, px
WIDTH = 720
_RIGHT, _TOP, _BOTTOM = 24, 12, 46
_LETTER = 6.6  # average width of a letter at 12 px, px


def folded(name: str) -> list[str]:
    """Break a long name into lines: at commas or between options, then at hyphens and slashes."""
    parts = re.split(r" (?=\w+=)|(?<=,) ", name) if len(name) > LONGEST else [name]
    return _packed([piece for part in parts for piece in _pieces(part)])


def wrapped(title: str) -> list[str]:
    """Break a long title of an axis at the space nearest to its middle."""
    spaces = [place for place, letter in enumerate(title) if letter == " "]
    if len(title) <= SHORT or not spaces:
        return [title]
    middle = min(spaces, key=lambda place: abs(place - len(title) / 2))
    return [title[:middle], title[middle + 1 :]]


def _pieces(part: str) -> list[str]:
    """Split a part that is longer than a line; pieces of one part have no space in between."""
    return (re.findall(r".+?(?:[-/](?=\w)|$)", part) or [part]) if len(part) > LONGEST else [part]


def _packed(pieces: list[str]) -> list[str]:
    """Join pieces to lines as long as they fit."""
    lines: list[str] = []
    for piece in pieces:
        space = "" if lines and lines[-1][-1:] in "-/" else " "
        if lines and len(lines[-1] + space + piece) <= LONGEST:
            lines[-1] += space + piece
        else:
            lines.append(piece)
    return lines


def height(plot: Plot, legend: bool = False) -> int:
    """Height of the figure, px."""
    if plot.cells:
        return cells_height(plot)
    if plot.y.kind != "names":
        return 380 + LEGEND * (len(plot.legend) if legend else 0)
    names = plot.y.names or dict.fromkeys(str(y) for one in plot.series for y in one.y)
    lines = max((len(folded(name)) for name in names), default=1)
    return 130 + (GAP + LINE * lines) * len(names)


def svg(plot: Plot, *, legend: bool = True) -> str:
    """Draw the plot as an SVG element; its text takes the page's color.

    Args:
        plot: the plot.
        legend: whether series that are not labeled at their lines are named below.
    """
    named = plot.legend if legend and not plot.labels_directly else ()
    tall = height(plot, bool(named))
    parts = cells(plot) if plot.cells else _marks(plot, tall - LEGEND * len(named))
    return "".join(
        [
            f'<svg viewBox="0 0 {WIDTH} {tall}" role="img" font-size="12" fill="currentColor" ',
            f'aria-label="{escape(visible(plot.title))}">',
            *parts,
            *_legend(named, tall),
            "</svg>",
        ]
    )


@dataclass(frozen=True)
class _Scale:
    """Mapping from values of an axis to positions between two ends, px."""

    axis: Axis
    names: tuple[str, ...]
    low: float
    high: float
    start: float
    end: float

    def at(self, value: float | str) -> float:
        if self.axis.kind == "names":
            share = (self.names.index(str(value)) + 0.5) / len(self.names)
        else:
            share = (self.axis.place(value) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        if self.axis.kind == "log":
            return log_ticks(10**self.low, 10**self.high)
        return number_ticks(self.low, self.high)


def _scale(axis: Axis, values: Sequence[float | str], start: float, end: float) -> _Scale:
    if axis.kind == "names":
        names = axis.names or tuple(dict.fromkeys(str(value) for value in values))
        return _Scale(axis, names, 0, 1, start, end)
    numbers = [axis.place(value) for value in values]
    low, high = min(numbers), max(numbers)
    room = 0.06 * (high - low) or 0.06 * abs(high) or 1.0
    return _Scale(axis, (), low - room, high + room, start, end)


def _marks(plot: Plot, tall: float) -> Iterator[str]:
    names, bottom = plot.y.kind == "names", tall - _BOTTOM
    left = _left([str(y) for one in plot.series for y in one.y]) if names else 64
    right = WIDTH - _RIGHT - direct_width(plot)
    across, up = [], []
    for one in plot.series:
        across += one.x
        up += one.y
        (across if names else up).extend(v for v in (*one.low, *one.high) if v is not None)
    x = _scale(plot.x, across, left, right)
    y = _scale(plot.y, up, *((_TOP, bottom) if names else (bottom, _TOP)))
    yield from _frame(x, y, left, bottom)
    for one in plot.series:
        yield from _series(one, x, y, names)
        if plot.labels_directly and one.name:
            yield text(x.at(one.x[-1]) + 10, y.at(one.y[-1]) + 4, short(one.name), "start")


def _left(names: Sequence[str]) -> float:
    """Width of the names beside their marks, px."""
    widest = max((len(line) for name in names for line in folded(name)), default=0)
    return min(330, 16 + _LETTER * widest)


def direct_width(plot: Plot) -> int:
    """Width of the labels at the ends of lines, px; 0 without any."""
    if not plot.labels_directly:
        return 0
    return round(_LETTER * max(len(short(one.name)) for one in plot.legend))


def short(name: str) -> str:
    """Cut a label at the end of a line to the letters that fit."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _frame(x: _Scale, y: _Scale, left: float, bottom: float) -> Iterator[str]:
    for tick in x.ticks():
        at = x.at(tick)
        yield _grid(f"M{at} {_TOP}V{bottom}")
        yield text(at, bottom + 16, tick_label(tick), "middle")
    yield text((left + x.end) / 2, bottom + 36, x.axis.title, "middle")
    if y.axis.kind == "names":
        for name in y.names:
            lines = folded(name)
            top = y.at(name) + 4 - LINE * (len(lines) - 1) / 2
            for n, line in enumerate(lines):
                yield text(left - 8, top + n * LINE, line, "end")
        return
    for tick in y.ticks():
        at = y.at(tick)
        yield _grid(f"M{left} {at}H{x.end}")
        yield text(left - 6, at + 4, tick_label(tick), "end")
    middle = (_TOP + bottom) / 2
    yield (
        f'<text transform="translate(14 {middle:.0f}) rotate(-90)" text-anchor="middle">'
        f"{escape(visible(y.axis.title))}</text>"
    )


def _grid(path: str) -> str:
    return f'<path d="{path}" stroke="currentColor" stroke-opacity=".15"/>'


def _series(one: Series, x: _Scale, y: _Scale, names: bool) -> Iterator[str]:
    points = [(x.at(a), y.at(b)) for a, b in zip(one.x, one.y, strict=True)]
    if one.draws == "marks":
        yield from _intervals(one, points, x if names else y, names)
    else:
        if one.low and None not in (*one.low, *one.high):
            upper, lower = (
                [
                    (a, y.at(end))
                    for (a, _), end in zip(points, ends, strict=True)
                    if end is not None
                ]
                for ends in (one.high, one.low)
            )
            band = _path([*upper, *reversed(lower)])
            yield f'<path d="{band}Z" fill="{one.style.color}" fill-opacity=".15"/>'
        yield stroke(one.style, _path(points))
    if one.draws != "line":
        yield from (mark(one.style, a, b) for a, b in points)
    for (a, b), label in zip(points, one.labels, strict=False):
        yield text(a + 7, b - 6, label, "start")


def _intervals(
    one: Series, points: Sequence[tuple[float, float]], scale: _Scale, names: bool
) -> Iterator[str]:
    for (a, b), low, high in zip(points, one.low, one.high, strict=False):
        if low is not None and high is not None:
            ends = scale.at(low), scale.at(high)
            path = f"M{ends[0]} {b}H{ends[1]}" if names else f"M{a} {ends[0]}V{ends[1]}"
            yield f'<path d="{path}" stroke="{one.style.color}" stroke-width="1.5"/>'


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{a} {b}" for a, b in points)


def _legend(series: Sequence[Series], tall: float) -> Iterator[str]:
    for n, one in enumerate(series):
        at = tall - LEGEND * (len(series) - n) + 12
        if one.draws != "marks":
            yield stroke(one.style, f"M64 {at - 4}h32")
        if one.draws != "line":
            yield mark(one.style, 80, at - 4)
        yield text(104, at, one.name, "start")
