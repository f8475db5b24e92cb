import datetime

import pytest
from pydantic import ValidationError

from peftlens.runs.config import RunConfig


@pytest.mark.parametrize(
    "training",
    [
        {"max_steps": -1},
        {"batch_size": 0},
        {"learning_rate": float("nan")},
        {"warmup_ratio": 2},
        {"step": 1},
    ],
)
def test_values_that_can_not_be(training):
    with pytest.raises(ValidationError):
        RunConfig.model_validate({"method": "lora", "task": "t", "training": training})


def test_an_unknown_key_is_an_error():
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        RunConfig.model_validate({"method": "lora", "task": "t", "base": "x"})


def test_a_configuration_can_not_be_changed():
    config = RunConfig(method="lora", task="t")
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 1


@pytest.mark.parametrize(
    "value", [datetime.date(2020, 1, 1), float("nan"), [float("inf")], {"a": {1, 2}}, object()]
)
def test_options_of_a_run_are_json(value):
    for key in ("method_config", "task_config"):
        with pytest.raises(ValidationError, match="alpha is no JSON value"):
            RunConfig.model_validate({"method": "lora", "task": "boolq", key: {"alpha": value}})
