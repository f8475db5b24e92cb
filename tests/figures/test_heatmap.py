import pandas as pd
import pytest

from peftlens.figures import heatmap
from peftlens.results.table import Chart, Table

FRAME = pd.DataFrame({"task": ["b", "a", "b"], "after": ["z", "z", "y"], "v": [0.5, 0.25, 1.0]})


def test_cells_stand_in_the_order_in_which_they_come():
    chart = Chart("heatmap", x="task", y="after", title="t", value="v")
    found = heatmap.plot(Table("p", 1, (), (), FRAME), chart, FRAME)
    assert (found.columns, found.rows) == (("b", "a"), ("z", "y"))
    assert found.cells == ((0.5, 0.25), (1.0, None))
    assert found.finding == "V from 0.25 (z, a) to 1 (y, b)."


def test_a_heatmap_needs_a_value():
    with pytest.raises(ValueError, match="but names no column as its value"):
        heatmap.plot(Table("p", 1, (), (), FRAME), Chart("heatmap", "task", "after", "t"), FRAME)


def test_rows_of_one_cell_are_averaged():
    frame = pd.DataFrame({"x": [1, 1, 2], "y": ["q", "q", "q"], "v": [1.0, 3.0, 5.0]})
    chart = Chart("heatmap", x="x", y="y", title="t", value="v")
    found = heatmap.plot(Table("p", 1, (), (), frame), chart, frame)
    assert found.cells == ((2.0, 5.0),)
