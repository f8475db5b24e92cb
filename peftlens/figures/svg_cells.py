"""SVG of a heatmap: a shaded cell with its number for each row and column."""

from collections.abc import Iterator

from peftlens.figures.marks import text
from peftlens.figures.spec import Plot

ROW = 44  # height of a row, px
WIDTH = 720
_RIGHT, _TOP = 24, 12
_LETTER = 6.6  # average width of a letter at 12 px, px
_TURN = -40  # degrees, of names that are wider than their column


def cells_height(plot: Plot) -> int:
    """Height of the figure, px."""
    return _TOP + ROW * len(plot.rows) + _names_height(plot) + 54


def cells(plot: Plot) -> Iterator[str]:
    """Yield the elements of a heatmap."""
    left, wide = _left(plot), _wide(plot)
    for n, (name, row) in enumerate(zip(plot.rows, plot.cells, strict=True)):
        top = _TOP + ROW * n
        yield text(left - 8, top + 26, name, "end")
        for m, value in enumerate(row):
            if value is not None:
                yield _cell(plot, value, left + wide * m, top)
    yield from _columns(plot)
    yield text(left + (WIDTH - left) / 2, cells_height(plot) - 14, plot.x.title, "middle")


def _cell(plot: Plot, value: float, x: float, top: float) -> str:
    color, shade = plot.shade(value)
    wide = _wide(plot)
    return (
        f'<rect x="{x + 1:.1f}" y="{top + 1}" width="{wide - 2:.1f}" height="{ROW - 2}" '
        f'fill="{color}" fill-opacity="{shade:.2f}"/>'
    ) + text(x + wide / 2, top + 26, f"{value:z.3g}", "middle")


def _columns(plot: Plot) -> Iterator[str]:
    bottom, turned = _TOP + ROW * len(plot.rows), _names_height(plot) > 0
    for m, name in enumerate(plot.columns):
        middle = _left(plot) + _wide(plot) * (m + 0.5)
        if turned:
            yield text(middle + 4, bottom + 14, name, "end", _TURN)
        else:
            yield text(middle, bottom + 18, name, "middle")


def _left(plot: Plot) -> float:
    return min(330, 24 + _LETTER * max(len(name) for name in plot.rows))


def _wide(plot: Plot) -> float:
    return (WIDTH - _RIGHT - _left(plot)) / len(plot.columns)


def _names_height(plot: Plot) -> int:
    """Additional height of names that are wider than their column and therefore turned, px."""
    longest = _LETTER * max(len(name) for name in plot.columns)
    return round(0.65 * longest) if longest > _wide(plot) else 0
