import pandas as pd

from peftlens.figures import labels
from peftlens.figures.method_styles import method_style, other_style
from peftlens.results.table import Chart, Column, Table

TABLE = Table("p", 1, (Column("loss", "m", "nats"), Column("step_seconds", "m", "s")), (),
              pd.DataFrame({"by": ["a", "b"]}))  # fmt: skip


def test_titles_of_axes():
    assert labels.axis_title(TABLE, "loss") == "loss (nats)"
    assert labels.axis_title(TABLE, "step_seconds") == "step time (s)"
    assert labels.axis_title(TABLE, "not_described") == "not described"


def test_a_row_belongs_to_its_configuration_or_to_what_is_nearest_to_one():
    chart = Chart("line", x="x", y="y", title="t", by="by")
    frame = pd.DataFrame({"configuration": ["s"], "by": ["b"], "x": [1]})
    assert labels.key(frame, chart).tolist() == ["s"]
    assert labels.key(frame.drop(columns="configuration"), chart).tolist() == ["b"]


def test_values_in_words():
    assert labels.shown("configuration", "lora rank=8") == "LoRA, rank 8"
    assert labels.shown("method", "ia3") == "(IA)³"
    assert labels.shown("suite", "lora") == "lora"


def test_styles_are_those_of_methods_in_the_order_of_the_table():
    frame = pd.DataFrame({"by": ["lora rank=1", "full", "lora rank=8", "lora rank=8", "both"],
                          "method": ["lora", "full", "lora", "lora", "lora"]})  # fmt: skip
    frame = pd.concat([frame, pd.DataFrame({"by": ["both"], "method": ["full"]})])
    chart = Chart("line", x="x", y="y", title="t", by="by")
    found = labels.styles(Table("p", 1, (), (), frame), chart, ["lora rank=8", "full", "both"])
    assert found == [method_style("lora", 1), method_style("full"), other_style(0)]


def test_the_method_is_in_the_key_where_no_column_has_it():
    frame = pd.DataFrame({"configuration": ["lora rank=8", "ours"]})
    chart = Chart("points", x="configuration", y="y", title="t")
    assert labels.methods(frame, chart).tolist() == ["lora", ""]
    assert labels.methods(frame.assign(method="full"), chart).tolist() == ["full", "full"]


def test_numbers_without_an_interval_are_short():
    assert labels.point_label(241.71, None, None, "MB") == "242 MB"
    assert labels.point_label(134_515_008.0, None, None, "1") == "135M"
    assert labels.point_label(2900.0, None, None, None) == "2,900"
    assert labels.point_label(0.81, 0.76, 0.85, "1") == "0.81 (0.76 to 0.85)"
