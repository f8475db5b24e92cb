import math

import pandas as pd
import pytest

from peftlens.results.comparable import (
    alike,
    charted,
    rows_per_step,
    sweep_values,
    training_examples,
)

LORA = {"method": "lora", "configuration": "lora", "sweep": "lora", "learning_rate": 1e-3,
        "rank": 8, "max_steps": 100}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "ignored", "expected"),
    [
        ({"method": "dora", "sweep": "dora", "learning_rate": 1e-2}, (), True),
        ({"rank": 4}, (), False),
        ({"rank": 4}, ("rank",), True),
        ({"rank": None}, (), True),  # full fine-tuning has none
        ({"rank": pd.NA, "blocks": 2}, (), True),
        ({"max_steps": 50}, ("rank",), False),
    ],
)
def test_only_shared_hyperparameters_count(changed, ignored, expected):
    assert alike(LORA, LORA | changed, ignored) is expected


def test_values_are_by_the_name_without_the_rate():
    frame = pd.DataFrame([LORA, LORA | {"configuration": "other rate", "learning_rate": 1}])
    assert sweep_values({"configurations": frame}) == {"lora": LORA}


def test_the_rows_of_a_step_are_those_of_all_its_passes():
    assert rows_per_step({"batch_size": 8, "gradient_accumulation_steps": 4}) == 32
    assert rows_per_step({"batch_size": 8, "gradient_accumulation_steps": pd.NA}) == 8
    assert math.isnan(rows_per_step({"batch_size": None}))


def test_examples_are_counted_once():
    values = {"batch_size": 8, "max_steps": 100, "split": '{"max_train":300}'}
    assert training_examples(values) == 300
    assert training_examples(values | {"split": '{"max_train":null}'}) == 800
    assert training_examples(values | {"split": None}) == 800
    assert math.isnan(training_examples({"batch_size": 8}))


def test_rows_of_the_chart_are_by_name():
    chart = pd.DataFrame({"configuration": ["lora", "full"], "accuracy": [0.8, 0.7]})
    rows = charted({"rank_chart": chart})
    assert rows["full"] == {"configuration": "full", "accuracy": 0.7}
