import xml.etree.ElementTree as ET

import pytest

from peftlens.figures.method_styles import COLORS
from peftlens.figures.spec import Axis, Plot
from peftlens.figures.svg_cells import cells, cells_height


def plot(*rows, names=("a", "b")):
    kept = tuple(f"r{n}" for n in range(len(rows)))
    return Plot("t", "f", Axis("x", "names"), Axis("y", "names"), cells=rows,
                columns=names, rows=kept)  # fmt: skip


def parsed(one):
    return ET.fromstring(f"<svg>{''.join(cells(one))}</svg>")


def test_larger_values_are_darker():
    rects = list(parsed(plot((0.0, 1.0), (0.5, None))).iter("rect"))
    assert [float(one.get("fill-opacity")) for one in rects] == [0.04, 0.6, 0.32]
    assert {one.get("fill") for one in rects} == {COLORS[0]}


def test_signs_have_colors_around_zero():
    one = plot((-1.0, 2.0), (1.0, 0.0))
    assert one.shade(-1.0) == (COLORS[1], pytest.approx(0.32))
    assert one.shade(2.0) == (COLORS[0], 0.6)
    assert one.shade(0.0) == (COLORS[0], 0.04)


def test_long_names_of_columns_are_turned_and_have_room():
    short, long = plot((1.0, 2.0)), plot((1.0, 2.0), names=("a " * 40, "b"))
    assert cells_height(long) > cells_height(short)
    turned = [one for one in parsed(long).iter("text") if one.get("transform")]
    assert [one.text for one in turned] == ["a " * 40, "b"]
    assert all(one.get("transform") is None for one in parsed(short).iter("text"))
