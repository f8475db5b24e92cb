import pandas as pd
import pytest

from peftlens.figures import intervals
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
