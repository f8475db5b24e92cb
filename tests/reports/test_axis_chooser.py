import json

import pandas as pd
import pytest

from peftlens.figures.method_styles import FRONT, REFERENCE, method_style
from peftlens.reports.axis_chooser import axis_chooser

# configuration, method, accuracy, parameters, seconds
ROWS = (
    ("frozen", "frozen", 0.5, 0, None),
    ("lora rank=1", "lora", 0.7, 1e4, 2.0),
    ("lora rank=8", "lora", 0.8, 8e4, 2.5),
    ("full", "full", 0.75, 1e8, 4.0),
)
METRICS = (("accuracy", "1", "higher"), ("trainable parameters", "1", "lower"),
           ("step seconds", "s", "lower"))  # fmt: skip


def rows(values=ROWS, metrics=METRICS, task="words"):
    return pd.DataFrame(
        {
            "configuration": name, "method": method, "task": task, "metric": metric, "unit": unit,
            "better": better, "mean": number, "ci_low": None, "ci_high": None,
        }
        for name, method, *numbers in values
        for (metric, unit, better), number in zip(metrics, numbers, strict=True)
        if number is not None
    )  # fmt: skip


def test_the_first_choice_is_score_against_parameters():
    found = axis_chooser(rows())
    assert found.titles == ("accuracy (%)", "trainable parameters", "step time (s)")
    assert (found.x, found.y) == (1, 0)
    plot = found.figure.plot
    assert (plot.x.kind, plot.y.kind) == ("log", "number")
    lora, full, base, front = plot.series
    assert (lora.x, lora.y, lora.style) == ((1e4, 8e4), (70.0, 80.0), method_style("lora"))
    assert (full.name, full.x) == ("Full fine-tuning", (1e8,))
    # without parameters it has no place on the axis
    assert (base.name, base.y, base.style) == (
        "Base model before training",
        (50.0, 50.0),
        REFERENCE,
    )
    assert (front.x, front.y, front.style) == ((1e4, 8e4, 8e4), (70.0, 70.0, 80.0), FRONT)
    assert plot.finding == "2 of 3 are on the Pareto front: LoRA, rank 1; LoRA, rank 8."


def test_a_front_of_metrics_with_other_directions():
    metrics = (("loss", "nats", "lower"), ("speed", "1/s", "higher"), ("size", "m", None))
    values = (("a", "lora", 1.0, 1.0, 1.0), ("b", "lora", 2.0, 5.0, 2.0),
              ("c", "full", 3.0, 4.0, 3.0))  # fmt: skip
    plot = axis_chooser(rows(values, metrics)).figure.plot
    assert plot.finding == "2 of 3 are on the Pareto front: b; a."
    assert (plot.series[-1].x, plot.series[-1].y) == ((5.0, 1.0, 1.0), (2.0, 2.0, 1.0))
    unknown = (metrics[0], metrics[2], metrics[1])
    plot = axis_chooser(rows([(*v[:3], v[4], v[3]) for v in values], unknown)).figure.plot
    assert "one of the two has no better direction" in plot.finding
    assert "Pareto front" not in [one.name for one in plot.series]


def test_the_page_gets_the_values_of_all_metrics():
    found = axis_chooser(rows([(f"{one[0]}</script>", *one[1:]) for one in ROWS[1:]] + [ROWS[0]]))
    assert "<" not in found.data
    data = json.loads(found.data)
    assert data["keys"][0] == "lora rank=1</script>"
    assert data["methods"] == ["LoRA", "LoRA", "Full fine-tuning", "Base model before training"]
    accuracy, parameters, seconds = data["metrics"]
    assert accuracy["values"] == pytest.approx([70, 80, 75, 50])
    assert seconds["values"] == [2.0, 2.5, 4.0, None]
    assert parameters["layout"]["type"] == "log"
    assert [one["better"] for one in data["metrics"]] == ["higher", "lower", "lower"]
    assert set(data["looks"]) == set(data["methods"])


def test_configurations_of_several_tasks_have_a_mark_for_each():
    both = pd.concat([rows(), rows(task="topics")])
    data = json.loads(axis_chooser(both).data)
    assert len(data["names"]) == 2 * len(ROWS)
    assert data["names"][1] == "LoRA, rank 1, words"


def test_an_interval_that_ends_at_zero_fits_a_logarithmic_axis():
    metrics = (("adapter bytes", "bytes", "lower"), ("step seconds", "s", "lower"))
    values = [(f"lora rank={n}", "lora", 10.0**n, 1.0 + n) for n in (5, 7)]
    frame = rows(values, metrics).assign(ci_low=0.0, ci_high=1e8)
    found = axis_chooser(frame)
    assert found.figure.plot.y.kind == "log"
    assert json.loads(found.data)["metrics"][0]["low"] == [None, None]
    assert json.loads(found.data)["metrics"][1]["low"] == [0.0, 0.0]


def test_less_than_two_metrics_of_two_configurations_are_no_chart():
    assert axis_chooser(rows().query("metric == 'accuracy'")) is None
    assert axis_chooser(rows(ROWS[1:2])) is None
