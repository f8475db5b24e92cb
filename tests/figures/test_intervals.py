import pandas as pd
import pytest

from peftlens.figures import intervals
from peftlens.figures.method_styles import REFERENCE, method_style
from peftlens.results.table import Chart, Column, Table


def plot(frame, better=None, **options):
    table = Table("p", 1, (Column("y", "m", "s", better),), (), frame)
    return intervals.plot(
        table, Chart("points", x="configuration", y="y", title="t", **options), frame
    )


@pytest.mark.parametrize(
    ("better", "finding"),
    [
        ("higher", "Best of 2: b, 0.80 (0.75 to 0.85) s; last: a, 0.50 (0.45 to 0.55) s."),
        ("lower", "Best of 2: a, 0.50 (0.45 to 0.55) s; last: b, 0.80 (0.75 to 0.85) s."),
        (None, "Highest of 2: b, 0.80 (0.75 to 0.85) s; lowest: a, 0.50 (0.45 to 0.55) s."),
    ],
)
def test_the_finding_names_both_ends(better, finding):
    frame = pd.DataFrame({"configuration": ["a", "b"], "y": [0.5, 0.8], "ci_low": [0.45, 0.75],
                          "ci_high": [0.55, 0.85]})  # fmt: skip
    assert plot(frame, better, low="ci_low", high="ci_high").finding == finding


def test_many_rows_of_a_name_are_a_median_and_the_middle_of_them():
    frame = pd.DataFrame({"configuration": ["a"] * 101, "y": range(101)})
    found = plot(frame)
    (series,) = found.series
    assert (series.x, series.low, series.high) == ((50.0,), (5.0,), (95.0,))
    assert "median and middle 90 %" in found.title


def test_a_few_rows_of_a_name_are_marks():
    frame = pd.DataFrame({"configuration": ["a", "a", "b"], "y": [1.0, 3.0, 4.0]})
    found = plot(frame)
    assert found.series[0].x == (1.0, 3.0, 4.0)
    assert found.finding == "Highest of 2: b, 4 s; lowest: a, 2 s, the median of 2."


def test_equal_ones_and_a_single_one():
    assert plot(pd.DataFrame({"configuration": ["a", "b"], "y": [1.0, 1.0]})).finding == (
        "All 2 are the same: 1 s."
    )
    assert plot(pd.DataFrame({"configuration": ["a"], "y": [1.0]})).finding == "a: 1 s."
    assert plot(pd.DataFrame({"configuration": [], "y": []})) is None


def test_references_are_named_after_the_others():
    frame = pd.DataFrame({"configuration": ["frozen", "lora rank=1", "lora rank=8"],
                          "method": ["frozen", "lora", "lora"], "y": [9.0, 1.0, 2.0]})  # fmt: skip
    found = plot(frame, "higher")
    assert found.finding == (
        "Best of 2: LoRA, rank 8, 2 s; last: LoRA, rank 1, 1 s; Base model before training: 9 s."
    )
    assert [one.style for one in found.series] == [REFERENCE, method_style("lora")]
    assert found.y.names == ("Base model before training", "LoRA, rank 1", "LoRA, rank 8")
    for none in (0.0, 0.001):  # as of changes, and of memory above the base
        assert "Untrained" not in plot(frame.assign(y=[none, 1.0, 2.0]), "higher").finding


def test_a_logarithmic_axis_has_no_place_for_references():
    methods = ["frozen", "lora", "full"]
    frame = pd.DataFrame({"configuration": methods, "method": methods, "y": [0.001, 10.0, 1e6]})
    found = plot(frame, log_x=True)
    assert (found.x.kind, found.y.names) == ("log", ("LoRA", "Full fine-tuning"))
    below = frame.assign(low=[0.0, -1.0, 1.0], high=frame["y"])
    assert plot(below, log_x=True, low="low", high="high").x.kind == "number"


def test_copies_of_a_mark_are_one():
    frame = pd.DataFrame({"configuration": ["a", "a", "b", "b"], "y": [1.0, 1.0, 2.0, 3.0]})
    assert plot(frame).series[0].x == (1.0, 2.0, 3.0)
