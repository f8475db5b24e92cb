import pandas as pd

from peftlens.figures.method_styles import GRAY, method_style
from peftlens.reports.soft_prompt_comparisons import (
    cluster_plots,
    faithfulness_plots,
    task_word_plots,
)
from peftlens.results.table import Table

RUN = {"run": "a", "configuration": "prompt_tuning num_virtual_tokens=5",
       "method": "prompt_tuning", "seed": 0, "step": 40}  # fmt: skip


def tables(name, *rows):
    frame = pd.DataFrame([RUN | row for row in rows])
    return {name: Table(name, 1, (), (), frame)}


def test_words_of_the_own_task_stand_beside_those_of_others():
    rows = [
        {"position": None, "task": task, "own": own, "standardized": value, "related": own}
        for task, own, value in (("news", True, 4.0), ("words", False, 0.5), ("boolq", False, -1.0))
    ]
    vector = {"position": 1, "task": "news", "own": True, "standardized": 9.0, "related": True}
    (plot,) = task_word_plots(tables("soft_prompt_task_words", *rows, vector))
    assert [(one.name, one.x) for one in plot.series] == [
        ("words of words", (0.5,)), ("words of boolq", (-1.0,)), ("words of its own task", (4.0,)),
    ]  # fmt: skip
    assert [one.style.color == GRAY for one in plot.series] == [True, True, False]
    assert plot.finding.startswith("1 of 1 prompt")


def test_tables_of_earlier_versions_have_no_figure():
    assert task_word_plots(tables("soft_prompt_task_words", {"position": None, "words": "a"})) == []


def test_clusters_stand_beside_their_nulls():
    row = {"position": None, "entropy": 1.0, "clusters_used": 3, "mean_random_directions": 2.5}
    (plot,) = cluster_plots(tables("vocabulary_clusters", row, row | {"position": 0}))
    assert [(one.name, one.x) for one in plot.series] == [
        ("random directions", (2.5,)), ("trained vectors", (1.0,)),
    ]  # fmt: skip
    assert plot.finding == "The vectors of a prompt lie in 3 clusters, in the median of 1 prompt."
    assert cluster_plots(tables("vocabulary_clusters", row | {"entropy": None})) == []


def faithfulness(**values):
    return [
        {"prompt": kind, "omitted_position": None, "accuracy": 0.8 - n / 4, "loss": 1.0 + n}
        | values
        for n, kind in enumerate(("trained", "nearest tokens (cosine)", "none"))
    ] + [{"prompt": "without one", "omitted_position": 0, "accuracy": 0.1, "loss": 9.0} | values]


def test_prompts_of_tokens_stand_beside_the_trained_one():
    (plot,) = faithfulness_plots(tables("soft_prompt_faithfulness", *faithfulness()))
    nearest, none, trained = plot.series
    assert (trained.name, trained.x) == ("trained prompt", (80.0,))
    assert trained.style == method_style("prompt_tuning")
    assert (round(nearest.x[0]), none.name) == (55, "none")
    assert plot.finding == (
        "Mean accuracy (%) by prompt: trained 80, nearest tokens (cosine) 55, none 30."
    )


def test_without_accuracy_the_loss_is_drawn():
    rows = faithfulness(accuracy=None)
    (plot,) = faithfulness_plots(tables("soft_prompt_faithfulness", *rows))
    assert plot.x.title == "loss (nats per token)"
    assert plot.series[-1].x == (1.0,)
    none = faithfulness(accuracy=None, loss=None)
    assert faithfulness_plots(tables("soft_prompt_faithfulness", *none)) == []
