import pytest
from pydantic import ValidationError

from peftlens.errors import BadInput, explain
from peftlens.run import TrainingConfig


def test_bad_input_is_a_value_error():
    # callers from Python may catch it as what it is, without knowing peftlens
    assert issubclass(BadInput, ValueError)


def test_explain_names_place_value_and_reason():
    with pytest.raises(ValidationError) as caught:
        TrainingConfig.model_validate({"steps": -1})
    assert explain(caught.value) == "steps=-1: Input should be greater than or equal to 0"
