import pandas as pd

from peftlens.figures import pareto
from peftlens.results.table import Chart, Table

FRAME = pd.DataFrame(
    {
        "configuration": ["frozen", "a", "b", "c", "d", "e"],
        "method": ["f", "m", "m", "n", "n", "n"],
        "cost": [0, 1, 2, 2, 4, 8],
        "gain": [0.9, 0.5, 0.4, 0.6, 0.6, 0.7],
    }
)
CHART = Chart("pareto", x="cost", y="gain", title="t", log_x=True, by="method")


def test_by_hand():
    """d costs more than c and gains as much; b is beaten by a; frozen has no place on the axis."""
    found = pareto.plot(Table("p", 1, (), (), FRAME), CHART, FRAME)
    *methods, line = found.series
    assert [one.name for one in methods] == ["m", "n"]
    assert found.finding == "3 of 5 are on the front: a, c, e."
    assert line.x == (1.0, 2.0, 2.0, 8.0, 8.0)
    assert line.y == (0.5, 0.5, 0.6, 0.6, 0.7)


def test_a_method_looks_the_same_in_every_figure():
    both = pareto.plot(Table("p", 1, (), (), FRAME), CHART, FRAME).series
    some = FRAME[FRAME["method"] == "n"]
    one = pareto.plot(Table("p", 1, (), (), FRAME), CHART, some).series
    assert [s.style for s in both if s.name == "n"] == [s.style for s in one if s.name == "n"]


def test_how_sure_a_place_on_the_front_is():
    frame = FRAME.assign(p=[0.0, 0.9, 0.1, 0.75, 0.2, None])
    chart = Chart("pareto", x="cost", y="gain", title="t", log_x=True, by="method", text="p")
    found = pareto.plot(Table("p", 1, (), (), frame), chart, frame)
    assert found.finding.endswith("a (90% of draws), c (75% of draws), e.")


def test_one_mark_is_no_front():
    assert pareto.plot(Table("p", 1, (), (), FRAME), CHART, FRAME.iloc[:2]) is None
