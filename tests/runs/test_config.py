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


def keep(**values):
    training = {"keep": values}
    return RunConfig.model_validate({"method": "lora", "task": "t", "training": training})


@pytest.mark.parametrize(
    ("values", "filled"),
    [
        ({"kind": "kl"}, {"weight": 1.0, "data": "passages"}),
        ({"kind": "ewc", "weight": 3, "data": "wiki"}, {"weight": 3.0, "data": "wiki"}),
        ({"kind": "masked_kl"}, {"weight": 1.0, "data": None}),
        ({"kind": "l2sp"}, {"weight": 0.1, "data": None}),
        ({"kind": "orthogonal"}, {"weight": None, "data": None}),
    ],
)
def test_what_keeps_a_run_has_its_defaults_written_out(values, filled):
    found = keep(**values)
    assert found.training.keep.model_dump() == values | filled
    again = RunConfig.model_validate(found.model_dump(mode="json"))
    assert again == found


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "dropout"}, "Input should be 'kl', 'masked_kl', 'replay', 'ewc', 'l2sp' or"),
        ({"kind": ["kl"]}, "Input should be 'kl'"),
        ({"weight": 1.0}, "Field required"),
        ({"kind": "kl", "weight": 0}, "greater than 0"),
        ({"kind": "kl", "weight": float("inf")}, "finite"),
        ({"kind": "kl", "strength": 1}, "Extra inputs are not permitted"),
        ({"kind": "l2sp", "data": "wiki"}, "l2sp reads no general text, so leave out data"),
        ({"kind": "orthogonal", "weight": 1}, "orthogonal projects the steps, so leave out weight"),
    ],
)
def test_what_keeps_a_run_is_checked(values, message):
    with pytest.raises(ValidationError, match=message):
        keep(**values)
