import xml.etree.ElementTree as ET
from dataclasses import replace

import plotly.graph_objects as go

from peftlens.figures.marks import DASHES, SHAPES, mark, stroke, swatch
from peftlens.figures.method_styles import DASHES as NAMES
from peftlens.figures.method_styles import OTHER_SYMBOLS, SYMBOLS, Style, method_style
from peftlens.figures.spec import Series


def test_both_drawings_know_every_shape_and_dash():
    assert {*SHAPES} == {*SYMBOLS, *OTHER_SYMBOLS}
    assert {*DASHES} == {*NAMES}
    for symbol in SHAPES:
        go.scatter.Marker(symbol=symbol)  # refuses an unknown one
    assert len({*SHAPES.values()}) == len(SHAPES)


def test_open_marks_are_outlines():
    style = Style("#123456", "square")
    full, outline = (
        ET.fromstring(mark(replace(style, is_open=one), 1, 2)) for one in (False, True)
    )
    assert (full.get("fill"), full.get("stroke")) == ("#123456", None)
    assert (outline.get("fill"), outline.get("stroke")) == ("none", "#123456")
    assert full.get("transform") == "translate(1 2)"


def test_swatches_show_what_a_series_draws():
    style = method_style("lora", 1)
    one = Series("a", (1.0, 2.0), (1.0, 2.0), style=style)
    parts = {
        kind: len(list(ET.fromstring(swatch(replace(one, draws=kind)))))
        for kind in ("marks", "joined", "line")
    }
    assert parts == {"marks": 1, "joined": 2, "line": 1}
    assert 'stroke-dasharray="8 5"' in stroke(style, "M0 0h1")
    assert "dasharray" not in stroke(method_style("lora"), "M0 0h1")
