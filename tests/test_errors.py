import pytest
from pydantic import ValidationError

from peftlens.errors import (
    InputError,
    require,
    require_divisor,
    require_positive,
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
