import pandas as pd
import pytest

from peftlens.reports.metric_text import basis, head_of_metric, value_text, with_interval


def row(metric="accuracy", mean=0.8126, low=0.7634, high=0.8531, unit="1", **more):
    cells = {"metric": metric, "unit": unit, "better": "higher", "mean": mean, "ci_low": low,
             "ci_high": high, "n_items": 300, "n_seeds": 1}  # fmt: skip
    return pd.Series(cells | more)


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (row(), "81 % (76 to 85)"),
        (row(low=None, high=None), "81.26 %"),
        (row("accuracy change on boolq", -0.02, -0.05, 0.01), "-2.0 points (-5.0 to 1.0)"),
        (row("forgetting on wiki", 0.138, 0.119, 0.158, "nats per token"),
         "0.138 nats per token (0.119 to 0.158)"),
        (row("adapter bytes", 269_060_632, None, None, "bytes"), "269 MB"),
        (row("adapter bytes", 46_280, None, None, "bytes"), "46.3 kB"),
        (row("trainable parameters", 57_600, None, None), "57.6k"),
        (row("ACC", 0.5, 0.4, 0.6), "50 % (40 to 60)"),
        (row("F", 0.25, 0.17, 0.34), "25 points (17 to 34)"),
        (row("spearman", 0.5, None, None, ""), "0.5"),
        (row("accuracy", 1.0, 1.0, 1.0), "100 %"),
    ],
)  # fmt: skip
def test_values_have_units_and_intervals(one, text):
    assert with_interval(one) == text
    assert text.startswith(value_text(one))


def test_what_a_value_is_based_on():
    assert basis(row()) == "76 to 85 (95 %); 300 test examples, 1 seed"
    assert basis(row("validation accuracy", n_items=100, n_seeds=3)).endswith(
        "100 validation examples, 3 seeds"
    )
    assert basis(row(low=None, high=None, n_items=None)) == "1 seed"


def test_the_head_of_a_metric():
    rows = pd.DataFrame([row("adapter bytes", 1e6, None, None, "bytes", better="lower")])
    head = head_of_metric(rows)
    assert (head.name, head.better) == ("adapter (MB)", "lower")
