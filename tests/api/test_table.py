import pandas as pd
import plotly.graph_objects as go
from finished import lora, study

import peftlens as pl
from peftlens.results import table

COLUMNS = (table.Column("step", "optimizer steps"), table.Column("loss", "mean", "nats"))
LINE = table.Chart("line", x="step", y="loss", title="Loss <by> step", each="suite")


def made(charts=(), **columns):
    declared = (*COLUMNS, table.Column("suite", "texts"), *table.STATUS)
    return pl.Table("learning", 1, declared, charts, pd.DataFrame(columns))


def test_the_frame_has_the_measured_rows():
    one = made(step=[0, 1], loss=[None, 2.0], status=["not_applicable", "measured"], reason=None)
    assert one.to_frame()[["step", "loss"]].to_dict("records") == [{"step": 1, "loss": 2.0}]
    assert len(one.frame) == 2
    assert one.columns[1].unit == "nats"
    assert "<td>2</td>" in one._repr_html_()


def test_each_chart_gives_its_figures():
    one = made((LINE,), step=[0, 1, 0, 1], loss=[3.0, 1.0, 4.0, 2.0],
               suite=["news", "news", "wiki", "wiki"], configuration="lora", run="r")  # fmt: skip
    drawn = one.plot()
    assert len(drawn) == 2
    assert all(isinstance(figure, go.Figure) for figure in drawn)
    assert list(drawn[1].data[0].y) == [4.0, 2.0]
    assert list(drawn[1:][0].data[0].y) == [4.0, 2.0]
    shown = drawn._repr_html_()
    assert shown.count("<svg ") == shown.count("<figcaption>Loss &lt;by&gt; step") == 2
    assert "plotly" not in shown


def test_a_table_without_charts_has_no_figures():
    assert len(made(step=[0], loss=[1.0]).plot()) == 0


def test_a_table_of_a_study_is_drawn(tmp_path):
    folder = study(tmp_path, [lora(rank, seed) for rank in (1, 2) for seed in (0, 1)])
    rank_chart = pl.load_study(folder).tables["rank_chart"]
    assert {"rank", "accuracy"} <= {*rank_chart.to_frame().columns}
    assert len(rank_chart.plot()) >= 1
