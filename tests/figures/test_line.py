import pandas as pd

from peftlens.figures import line as lines
from peftlens.figures.method_styles import REFERENCE, method_style
from peftlens.results.table import Chart, Column, Table


def plot(frame, **options):
    table = Table("p", 1, (Column("y", "m"),), (), frame)
    return lines.plot(table, Chart("line", x="x", y="y", title="t", **options), frame)


def test_seeds_are_averaged_and_their_range_is_the_band():
    frame = pd.DataFrame({"x": [0, 0, 1, 1], "y": [1.0, 3.0, 2.0, 6.0], "by": "a"})
    (series,) = plot(frame, by="by").series
    assert (series.x, series.y) == ((0.0, 1.0), (2.0, 4.0))
    assert (series.low, series.high) == ((1.0, 2.0), (3.0, 6.0))


def test_single_rows_have_their_own_interval():
    frame = pd.DataFrame(
        {"x": [1, 0], "y": [2.0, 1.0], "ci_low": [1.5, 0.5], "ci_high": [2.5, 1.5]}
    )
    found = plot(frame, low="ci_low", high="ci_high")
    (series,) = found.series
    assert (series.x, series.low, series.high) == ((0.0, 1.0), (0.5, 1.5), (1.5, 2.5))
    assert found.finding == "From 1.0 (0.5 to 1.5) to 2.0 (1.5 to 2.5), as x goes from 0 to 1."


def test_no_line_has_two_marks():
    assert plot(pd.DataFrame({"x": [1, 1], "y": [1.0, 2.0], "by": ["a", "b"]}), by="by") is None


def test_what_a_logarithmic_axis_has_no_place_for_is_drawn_across():
    frame = pd.DataFrame({"x": [0, 10, 100], "y": [0.5, 0.6, 0.7], "by": ["frozen", "a", "a"]})
    line, across = plot(frame, by="by", log_x=True).series
    assert (across.name, across.x, across.y) == (
        "Base model before training",
        (10.0, 100.0),
        (0.5, 0.5),
    )
    assert (across.draws, across.style) == ("line", REFERENCE)
    assert line.x == (10.0, 100.0)


def test_labels_and_the_ends_of_several_lines():
    frame = pd.DataFrame({"x": [0, 1, 0, 1], "y": [1.0, 2.0, 3.0, 4.0], "by": list("aabb"),
                          "rank": [1, 2, 3, 4]})  # fmt: skip
    found = plot(frame, by="by", text="rank")
    assert found.series[0].labels == ("rank 1", "rank 2")
    assert found.finding == "Highest of 2 at the end: b, 4; lowest: a, 2."


def test_lines_of_a_method_share_its_color():
    frame = pd.DataFrame(
        {
            "configuration": ["lora rank=1"] * 2 + ["lora rank=8"] * 2 + ["full"] * 2,
            "method": ["lora"] * 4 + ["full"] * 2,
            "x": [0, 1] * 3,
            "y": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        }
    )
    series = plot(frame, by="configuration").series
    assert [one.name for one in series] == ["LoRA, rank 1", "LoRA, rank 8", "Full fine-tuning"]
    assert [one.style for one in series] == [
        method_style("lora"), method_style("lora", 1), method_style("full")
    ]  # fmt: skip
    assert series[1].keys == ("lora rank=8", "lora rank=8")


def test_ends_that_are_equal_and_ends_of_references():
    frame = pd.DataFrame({"configuration": ["lora", "lora", "full", "full", "frozen", "frozen"],
                          "x": [0, 1] * 3, "y": [1.0, 2.0, 1.0, 2.0, 7.0, 9.0]})  # fmt: skip
    assert plot(frame, by="configuration").finding == "All 2 end at 2."
