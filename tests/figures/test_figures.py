import numpy as np
import pandas as pd
import pytest

from peftlens import figures
from peftlens.table import Chart, Column, Table

FRAME = pd.DataFrame(
    {
        "run": ["a", "a", "b"], "configuration": ["x", "x", "y"], "step": [0, 5, 5],
        "score": [0.1, 0.5, None], "low": [0.0, 0.4, None], "high": [0.2, 0.7, None],
        "status": ["measured", "measured", "not_applicable"],
    }
)  # fmt: skip
COLUMNS = (Column("score", "how good", "nats per token"),)


def table(*charts):
    return Table("probe", 1, COLUMNS, charts, FRAME)


def drawn(chart):
    (figure,) = figures.draw(table(chart), chart).values()
    return figure


def test_points_show_the_last_step_with_its_interval():
    chart = Chart("points", x="configuration", y="score", title="t", low="low", high="high")
    (trace,) = drawn(chart).data
    assert list(trace.x) == [0.5]
    assert list(trace.y) == ["x"]
    assert list(trace.error_x.array) == pytest.approx([0.2])
    assert list(trace.error_x.arrayminus) == pytest.approx([0.1])


def test_line_over_steps_shows_all_measured_ones():
    chart = Chart("line", x="step", y="score", title="t", text="run", log_x=True)
    figure = drawn(chart)
    assert list(figure.data[0].x) == [0, 5]
    assert list(figure.data[0].text) == ["run a", "run a"]
    assert figure.layout.xaxis.type == "log"


def test_axes_carry_units():
    chart = Chart("line", x="step", y="score", title="t")
    assert drawn(chart).layout.yaxis.title.text == "score (nats per token)"


def test_the_page_decides_colours_of_paper_and_text():
    chart = Chart("line", x="step", y="score", title="t")
    layout = drawn(chart).layout
    assert layout.paper_bgcolor == layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert layout.font.color is None


def test_last_steps():
    assert figures.last_steps(FRAME)["step"].tolist() == [5, 5]


def test_a_figure_for_each_value_that_has_something_to_draw():
    frame = FRAME.assign(status="measured", suite=["one", "one", "two"])
    chart = Chart("points", x="configuration", y="score", title="t", each="suite")
    found = figures.draw(Table("probe", 1, COLUMNS, (chart,), frame), chart)
    assert [(title, list(figure.data[0].x)) for title, figure in found.items()] == [
        ("t: one", [0.5])
    ]


def test_lines_of_different_runs_are_not_joined():
    frame = FRAME.assign(status="measured", score=[0.1, 0.5, 0.7])
    frame = frame.astype({"step": "Int64", "score": "Float64", "low": "Float64"})
    chart = Chart("line", x="step", y="score", title="t", low="low", high="high")
    (figure,) = figures.draw(Table("probe", 1, COLUMNS, (chart,), frame), chart).values()
    np.testing.assert_equal(list(figure.data[0].x), [0, 5, np.nan, 5, np.nan])
    np.testing.assert_equal(list(figure.data[0].y), [0.1, 0.5, np.nan, 0.7, np.nan])
