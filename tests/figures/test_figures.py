"""What is drawn, and what is not."""

import pandas as pd
import pytest

from peftlens import figures
from peftlens.figures.method_styles import REFERENCE
from peftlens.results.table import Chart, Column, Table

FRAME = pd.DataFrame(
    {
        "run": ["a", "a", "b"], "configuration": ["x", "x", "y"], "step": [0, 5, 5],
        "score": [0.1, 0.5, None], "ci_low": [0.0, 0.4, None], "ci_high": [0.2, 0.7, None],
        "suite": ["one", "one", "two"], "status": ["measured", "measured", "not_applicable"],
    }
)  # fmt: skip
POINTS = Chart("points", x="configuration", y="score", title="t", low="ci_low", high="ci_high")


def table(frame=FRAME):
    return Table("probe", 1, (Column("score", "how good", "nats per token"),), (), frame)


def test_last_steps_that_were_measured():
    (plot,) = figures.plots(table(), POINTS)
    (series,) = plot.series
    assert (series.x, series.y, series.low, series.high) == ((0.5,), ("x",), (0.4,), (0.7,))
    assert plot.x.title == "score (nats per token)"


def test_a_figure_for_each_value_that_has_something_to_draw():
    chart = Chart("points", x="configuration", y="score", title="t", each="suite")
    assert [plot.title for plot in figures.plots(table(), chart)] == ["t: one"]


def many(n, methods):
    rows = [{"configuration": f"m{k % methods} k={k}", "method": f"m{k % methods}", "score": k}
            for k in range(n)]  # fmt: skip
    return table(pd.DataFrame(rows))


def test_more_names_than_can_be_read_are_shown_by_method():
    assert len(figures.plots(many(24, 2), POINTS_PLAIN)) == 1
    plots = figures.plots(many(60, 2), POINTS_PLAIN)
    assert [plot.title for plot in plots] == [
        "t: m0, 1 of 2", "t: m0, 2 of 2", "t: m1, 1 of 2", "t: m1, 2 of 2",
    ]  # fmt: skip
    shown = [name for plot in plots for name in plot.series[0].y]
    assert sorted(shown) == sorted(f"m{k % 2} k={k}" for k in range(60))


def test_whole_methods_share_a_figure_as_far_as_they_fit():
    plots = figures.plots(many(30, 10), POINTS_PLAIN)
    assert [plot.title for plot in plots] == ["t: m0 to m7", "t: m8, m9"]
    assert [len(plot.y.names) for plot in plots] == [24, 6]


def test_more_lines_than_can_be_read_are_several_figures():
    rows = [{"configuration": f"c{k}", "step": step, "score": k, "run": k}
            for k in range(10) for step in (0, 1)]  # fmt: skip
    chart = Chart("line", x="step", y="score", title="t", by="configuration")
    plots = figures.plots(table(pd.DataFrame(rows)), chart)
    assert [len(plot.series) for plot in plots] == [8, 2]


def test_numbers_are_in_units_in_which_they_are_short():
    frame = pd.DataFrame(
        {
            "configuration": ["lora rank=1", "frozen"], "method": ["lora", "frozen"],
            "accuracy": [0.75, 0.5], "ci_low": [0.7, 0.4], "ci_high": [0.8, 0.6],
            "peak_memory_bytes": [200e6, 1e6],
        }
    )  # fmt: skip
    columns = (
        Column("accuracy", "share", "1", "higher"),
        Column("peak_memory_bytes", "m", "bytes"),
    )
    data = Table("p", 1, columns, (), frame)
    points = Chart(
        "points", x="configuration", y="accuracy", title="t", low="ci_low", high="ci_high"
    )
    (plot,) = figures.plots(data, points)
    lora, base = plot.series
    assert (lora.x, lora.y, lora.keys) == ((75.0,), ("LoRA, rank 1",), ("lora rank=1",))
    assert (lora.low, base.style) == ((pytest.approx(70),), REFERENCE)
    assert plot.x.title == "accuracy (%)"
    assert plot.finding == (
        "LoRA, rank 1: 75 (70 to 80) %; Base model before training: 50 (40 to 60) %."
    )
    pareto = Chart("pareto", x="peak_memory_bytes", y="accuracy", title="t", by="method")
    (plot,) = figures.plots(data, pareto)
    assert plot.x.title == "peak memory (MB)"
    assert [one.name for one in plot.series] == [
        "LoRA",
        "Base model before training",
        "Pareto front",
    ]
    assert plot.series[0].x == (200.0,)


def test_lines_over_steps_have_several():
    rows = [{"configuration": name, "step": step, "score": 1.0, "run": name}
            for name, steps in (("a", (0, 1)), ("b", (1,))) for step in steps]  # fmt: skip
    chart = Chart("line", x="step", y="score", title="t", by="configuration")
    (plot,) = figures.plots(table(pd.DataFrame(rows)), chart)
    assert [one.name for one in plot.series] == ["a"]


def test_a_heatmap_of_many_rows_is_a_table():
    chart = Chart("heatmap", x="other", y="configuration", value="score", title="t")
    for n, expected in ((figures.MOST_ROWS, 1), (figures.MOST_ROWS + 1, 0)):
        rows = [{"configuration": str(k), "other": "a", "score": k} for k in range(n)]
        assert len(figures.plots(table(pd.DataFrame(rows)), chart)) == expected


def test_a_kind_of_a_later_version_is_not_drawn():
    assert figures.plots(table(), Chart("violin", x="configuration", y="score", title="t")) == []  # pyright: ignore


POINTS_PLAIN = Chart("points", x="configuration", y="score", title="t")
