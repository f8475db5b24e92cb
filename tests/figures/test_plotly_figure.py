import json

import pytest

from peftlens.figures.plotly_figure import figure
from peftlens.figures.spec import Axis, Plot, Series

EVIL = "</script><b>x</b> rank=1"


def plot(*series, x="number", y="number"):
    return Plot("t", "f", Axis("x", x), Axis("y", y), series)


def test_names_with_intervals():
    one = Series("", (0.5,), ("lora rank=1 alpha=2",), ("k",), (0.25,), (1.0,))
    found = figure(plot(one, y="names"))
    (trace,) = found.data
    assert trace.y == ("lora<br>rank=1<br>alpha=2",)
    assert (trace.error_x.array, trace.error_x.arrayminus) == ((0.5,), (0.25,))
    assert trace.customdata == ("k",)
    assert found.layout.yaxis.autorange == "reversed"


def test_a_band_stands_behind_its_line():
    one = Series("a", (1.0, 2.0), (3.0, 4.0), ("a", "a"), (2.0, 3.0), (4.0, 5.0), draws="joined")
    band, line = figure(plot(one)).data
    assert (band.x, band.y) == ((1.0, 2.0, 2.0, 1.0), (4.0, 5.0, 3.0, 2.0))
    assert (band.meta, band.name, line.name) == ("band", "a", "a")


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


def test_values_of_a_logarithmic_axis_are_its_ticks():
    found = figure(plot(Series("", (10.0, 2000.0), (1.0, 2.0)), x="log"))
    assert found.layout.xaxis.type == "log"
    assert found.layout.xaxis.tickvals == (10.0, 2000.0)


@pytest.mark.parametrize(("most", "dtick"), [(50.0, "D2"), (1e6, 1)])
def test_a_logarithmic_axis_of_many_decades_names_these_alone(most, dtick):
    x = (1.0, 2.0, 3.0, 4.0, 5.0, most)
    assert figure(plot(Series("", x, x), x="log")).layout.xaxis.dtick == dtick


def test_an_interval_may_end_at_zero():
    found = figure(plot(Series("", (1.0,), (0.02,), low=(0.0,), high=(0.05,))))
    assert found.data[0].error_y.arrayminus == (0.02,)
    assert found.data[0].error_y.array == (pytest.approx(0.03),)
