"""Shapes of marks as SVG paths, text, and the swatches of a legend."""

from html import escape

from peftlens.figures.method_styles import Style
from peftlens.figures.spec import Series
from peftlens.io.escaping import visible

SHAPES = {
    "circle": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0",
    "square": "M-4-4H4V4H-4Z",
    "diamond": "M0-5L5 0 0 5-5 0Z",
    "triangle-up": "M0-5L5 4H-5Z",
    "triangle-down": "M0 5L5-4H-5Z",
    "triangle-right": "M5 0L-4 5V-5Z",
    "cross": "M-5-2H-2V-5H2V-2H5V2H2V5H-2V2H-5Z",
    "x": "M-5-3L-3-5 0-2 3-5 5-3 2 0 5 3 3 5 0 2-3 5-5 3-2 0Z",
    "star": "M0-6L1.6-2 6-1.8 2.5.9 3.7 5 0 2.6-3.7 5-2.5.9-6-1.8-1.6-2Z",
    "pentagon": "M0-5L5-1.2 3 4.5H-3L-5-1.2Z",
    "hexagon2": "M-5 0L-2.5-4.3H2.5L5 0 2.5 4.3H-2.5Z",
    "hourglass": "M-4-5H4L-4 5H4Z",
    "bowtie": "M-5-4V4L5-4V4Z",
}
DASHES = {"solid": "", "dash": "8 5", "dot": "2 4", "dashdot": "8 4 2 4", "longdash": "14 5",
          "longdashdot": "14 4 2 4"}  # fmt: skip


def mark(style: Style, x: float, y: float) -> str:
    """Draw a mark at a place, px."""
    fill = f'fill="none" stroke="{style.color}" stroke-width="1.8"'
    look = fill if style.is_open else f'fill="{style.color}"'
    return f'<path d="{SHAPES[style.symbol]}" transform="translate({x} {y})" {look}/>'


def stroke(style: Style, path: str) -> str:
    """Draw a path in a style's color and dash."""
    dash = f' stroke-dasharray="{DASHES[style.dash]}"' if DASHES[style.dash] else ""
    return f'<path d="{path}" fill="none" stroke="{style.color}" stroke-width="2"{dash}/>'


def swatch(series: Series) -> str:
    """Draw a series' entry in a legend, 32 px wide and 14 px high."""
    line = "" if series.draws == "marks" else stroke(series.style, "M0 7h32")
    dot = "" if series.draws == "line" else mark(series.style, 16, 7)
    return f'<svg width="32" height="14" aria-hidden="true">{line}{dot}</svg>'


def text(x: float, y: float, words: str, anchor: str, turn: int = 0) -> str:
    """Write text at a place, px, turned around it by some degrees."""
    turned = f' transform="rotate({turn} {x:.1f} {y:.1f})"' if turn else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turned}>'
        f"{escape(visible(words))}</text>"
    )
