import pytest
from pydantic import ValidationError

from peftlens.errors import (
    InputError,
    nearest,
    require,
    require_divisor,
    require_positive,
    suggestion,
    validation_summary,
)
from peftlens.runs.config import TrainingConfig


def test_bad_input_is_a_value_error():
    # callers from Python may catch it as what it is, without knowing peftlens
    assert issubclass(InputError, ValueError)


def test_explain_names_place_value_and_reason():
    with pytest.raises(ValidationError) as caught:
        TrainingConfig.model_validate({"max_steps": -1})
    assert (
        validation_summary(caught.value)
        == "max_steps=-1: Input should be greater than or equal to 0"
    )


@pytest.mark.parametrize(
    ("value", "high", "message"),
    [
        (0, None, "rank=0 must be finite and at least 1"),
        (float("nan"), None, "rank=nan must be finite and at least 1"),
        (float("inf"), None, "rank=inf must be finite"),
        (9, 8, "rank=9 must lie between 1 and 8, the width"),
    ],
)
def test_require_names_value_range_and_reason(value, high, message):
    with pytest.raises(InputError, match=message):
        require("rank", value, 1, high, "the width")


def test_require_lets_the_ends_of_the_range_pass():
    require("rank", 1, 1, 8)
    require("rank", 8, 1, 8)
    require("rank", 1e30, 1)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_require_positive(value):
    with pytest.raises(InputError, match="must be above 0 and finite"):
        require_positive("alpha", value)


def test_require_divisor_names_the_first_size_that_it_leaves_a_rest_of():
    require_divisor("block_size", 8, [32, 64], "a side")
    with pytest.raises(InputError, match="block_size=8 must divide 36, the inputs of a layer"):
        require_divisor("block_size", 8, iter([32, 36, 12]), "the inputs of a layer")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("LoRA", ["lora"]),
        ("prompt-tuning", ["prompt_tuning"]),
        ("Prompt Tuning", ["prompt_tuning"]),
        ("lorra", ["lora"]),
        ("promt_tuning", ["prompt_tuning"]),
        ("zzz", []),
        ("lr", ["learning_rate"]),
        ("", []),
    ],
)
def test_nearest_names(name, found):
    assert nearest(name, ["lora", "prompt_tuning", "learning_rate"]) == found


def test_a_name_of_another_program_is_suggested_only_where_there_is_its_option():
    assert nearest("r", ["rank", "alpha"]) == ["rank"]
    assert nearest("r", ["alpha"]) == []


def test_suggestion_lists_all_names_where_none_is_near():
    assert suggestion("forget", ["forgetting", "traces"]) == "did you mean forgetting?"
    assert suggestion("x", ["forgetting", "traces"]) == "choose from forgetting, traces"
    assert suggestion("x", [], "it has") == "it has none"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_stepz": 1}, "max_stepz=1: unknown key; did you mean max_steps?"),
        ({"steps": 1}, "steps=1: this key is called max_steps now"),
        ({"keep": {"kind": "kl", "wieght": 1}}, "unknown key; did you mean weight?"),
        ({"keep": {"kind": "KL"}}, "did you mean kl?"),
        ({"lr_scheduler_type": "cosin"}, "did you mean cosine?"),
        ({"zzzzz": 1}, "unknown key; choose from max_steps, batch_size"),
    ],
)
def test_unknown_keys_and_choices_have_the_nearest_name(values, message):
    with pytest.raises(ValidationError) as caught:
        TrainingConfig.model_validate(values)
    assert message in validation_summary(caught.value, TrainingConfig)
