import json

import pytest

from peftlens.figures.plotly_figure import figure
from peftlens.figures.spec import Axis, Plot, Series

EVIL = "</script><b>x</b> rank=1"


def plot(*series, x="number", y="number"):
    return Plot("t", "f", Axis("x", x), Axis("y", y), series)


def test_names_with_intervals():
    one = Series("", (0.5,), ("LoRA, rank 1, learning rate 0.001",), ("k",), (0.25,), (1.0,))
    found = figure(plot(one, y="names"))
    (trace,) = found.data
    assert trace.y == ("LoRA, rank 1,<br>learning rate 0.001",)
    assert (trace.error_x.array, trace.error_x.arrayminus) == ((0.5,), (0.25,))
    assert trace.customdata == ("k",)
    assert found.layout.yaxis.autorange == "reversed"


def test_a_band_stands_behind_its_line():
    one = Series("a", (1.0, 2.0), (3.0, 4.0), ("k", "k"), (2.0, 3.0), (4.0, 5.0), draws="joined")
    band, line = figure(plot(one)).data
    assert (band.x, band.y) == ((1.0, 2.0, 2.0, 1.0), (4.0, 5.0, 3.0, 2.0))
    assert (band.meta, band.text, band.name, line.name) == ("band", "k", "a", "a")


def test_markup_in_names_is_no_markup():
    series = Series(EVIL, (1.0,), (1.0,), (EVIL,), labels=(EVIL,))
    text = figure(plot(series)).to_json()
    assert "<b>" not in json.loads(text)["data"][0]["name"]
    assert "&lt;/script&gt;&lt;b&gt;" in json.loads(text)["data"][0]["customdata"][0]


def test_cells():
    found = figure(Plot("t", "f", Axis("x", "names"), Axis("y", "names"), cells=((0.5, None),),
                        columns=("a", "b"), rows=("r",)))  # fmt: skip
    assert found.data[0].z[0][0] == 0.5


def test_the_page_decides_colors_of_paper_and_text():
    layout = figure(plot(Series("", (1.0,), (1.0,)))).layout
    assert layout.paper_bgcolor == layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert layout.font.color is None
    assert not layout.showlegend


def test_a_logarithmic_axis_has_decades_as_ticks():
    found = figure(plot(Series("", (900.0, 2e6), (1.0, 2.0)), x="log"))
    assert found.layout.xaxis.type == "log"
    assert found.layout.xaxis.ticktext == ("1k", "10k", "100k", "1M")


def test_names_keep_their_order_whichever_series_they_belong_to():
    one, other = Series("", (1.0, 2.0), ("a", "c")), Series("", (3.0,), ("b",))
    axis = Axis("", "names", ("a", "b", "c"))
    found = figure(Plot("t", "f", Axis("x"), axis, (one, other)))
    assert found.layout.yaxis.categoryarray == ("a", "b", "c")


def test_lines_are_named_at_their_ends_or_in_a_legend():
    far = plot(
        *(Series(f"s{n}", (1.0, 100.0), (0.0, n), draws="joined") for n in range(3)), x="log"
    )
    labels = figure(far).layout.annotations
    assert [(one.text, one.x, one.y) for one in labels] == [
        ("s0", 2, 0),
        ("s1", 2, 1),
        ("s2", 2, 2),
    ]
    assert not figure(far).layout.showlegend
    assert figure(far).layout.xaxis.range == pytest.approx((-0.12, 2.12))  # of 1 to 100
    marks = plot(Series("a", (1.0,), (1.0,)))
    assert figure(marks).layout.showlegend
    assert not figure(marks, legend=False).layout.showlegend


def test_an_interval_may_end_at_zero():
    found = figure(plot(Series("", (1.0,), (0.02,), low=(0.0,), high=(0.05,))))
    assert found.data[0].error_y.arrayminus == (0.02,)
    assert found.data[0].error_y.array == (pytest.approx(0.03),)
