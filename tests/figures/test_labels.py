import pandas as pd

from peftlens.figures import labels
from peftlens.results.table import Chart, Column, Table

TABLE = Table("p", 1, (Column("loss", "m", "nats"), Column("step_seconds", "m", "s")), (),
              pd.DataFrame({"by": ["a", "b"]}))  # fmt: skip


def test_titles_of_axes():
    assert labels.axis_title(TABLE, "loss") == "loss (nats)"
    assert labels.axis_title(TABLE, "step_seconds") == "step seconds"
    assert labels.axis_title(TABLE, "not_described") == "not described"


def test_a_row_belongs_to_its_configuration_or_to_what_is_nearest_to_one():
    chart = Chart("line", x="x", y="y", title="t", by="by")
    frame = pd.DataFrame({"configuration": ["s"], "by": ["b"], "x": [1]})
    assert labels.key(frame, chart).tolist() == ["s"]
    assert labels.key(frame.drop(columns="configuration"), chart).tolist() == ["b"]


def test_styles_are_the_tables_own_where_it_has_few():
    chart = Chart("line", x="x", y="y", title="t", by="by")
    assert labels.styles(TABLE, chart, ["b"]) == [1]
    many = Table("p", 1, (), (), pd.DataFrame({"by": [str(n) for n in range(9)]}))
    assert labels.styles(many, chart, ["8", "3"]) == [0, 1]
