import pandas as pd

from peftlens.reports import loss_curves
from peftlens.reports.section_plots import DRAWN, MANY, PAGE, section_plots
from peftlens.results.table import Chart, Column, Table

POINTS = Chart("points", x="configuration", y="accuracy", title="t")
PARETO = Chart("pareto", x="cost", y="accuracy", title="p")
COLUMNS = (Column("accuracy", "m", "1"),)


def table(name, n=2, charts=(POINTS,), **columns):
    frame = pd.DataFrame({"configuration": [f"lora rank={k}" for k in range(n)], "method": "lora",
                          "accuracy": [0.5 + k / 99 for k in range(n)],
                          "cost": [1.0 + k for k in range(n)]})  # fmt: skip
    return Table(name, 1, COLUMNS, charts, frame.assign(**columns))


def titles(tables, **options):
    found = section_plots({one.name: one for one in tables}, **options)
    return {name: [plot.title for chart in one.charts for plot in chart]
            for name, one in found.items()}  # fmt: skip


def test_a_chart_of_any_two_metrics_holds_the_pareto_charts():
    one = table("rank_chart", charts=(POINTS, PARETO))
    assert titles([one]) == {"rank_chart": ["t", "p"]}
    assert titles([one], has_chooser=True) == {"rank_chart": ["t"]}


def test_the_same_accuracies_are_drawn_once():
    assert titles([table("rank_chart"), table("task_accuracy")])["task_accuracy"] == []
    rates = table("task_accuracy", 3)  # more configurations, such as learning rates
    assert titles([table("rank_chart"), rates])["task_accuracy"] == ["t"]
    assert titles([table("task_accuracy")])["task_accuracy"] == ["t"]


def test_validation_losses_are_drawn_once():
    charts = tuple(Chart("line", x="step", y=y, title=y, by="configuration")
                   for y in ("loss", "accuracy"))  # fmt: skip
    steps = table("learning", 1, charts)
    frame = pd.concat([steps.frame.assign(step=step, loss=1.0) for step in (0, 1)])
    learning = Table("learning", 1, COLUMNS, charts, frame)
    assert titles([learning])["learning"] == ["loss", "accuracy"]
    columns = [column.name for column in loss_curves.COLUMNS]
    losses = frame.assign(run="a", seed=0, training_loss=1.0, validation_loss=1.0)[columns]
    both = [Table(loss_curves.NAME, 1, loss_curves.COLUMNS, (), losses), learning]
    assert titles(both)["learning"] == ["accuracy"]


def test_pages_of_many_configurations_have_a_limit():
    each = Chart("points", x="configuration", y="accuracy", title="t", each="cost")
    few = section_plots({"a": table("a", MANY, (each,))})["a"]
    assert (sum(map(len, few.charts)), few.is_cut) == (DRAWN, False)
    many = section_plots({name: table(name, MANY + 6, (each, POINTS)) for name in "ab"})
    counts = [len(chart) for name in "ab" for chart in many[name].charts]
    assert sum(counts) == PAGE
    assert counts == [10, 2, 10, 2]  # every chart has its first, then its second, ...
    assert many["a"].is_cut
    alone = section_plots({"a": table("a", MANY + 6, (each,))}, has_chooser=True)["a"]
    assert sum(map(len, alone.charts)) == PAGE - 1


def test_no_chart_of_a_page_goes_without_its_figure():
    tables = {f"t{n}": table(f"t{n}", MANY + 6) for n in range(PAGE + 5)}
    assert all(len(one.charts[0]) == 1 for one in section_plots(tables).values())
