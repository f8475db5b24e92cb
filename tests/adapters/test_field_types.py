import math
from typing import Literal

import pytest

from peftlens.adapters.field_types import (
    field_types,
    is_count,
    is_finite,
    is_prompt_type,
    suits,
)


@pytest.mark.parametrize(
    ("hint", "value", "suitable"),
    [
        (int, 3, True), (int, 3.0, False), (int, True, False), (int, "3", False),
        (float, 3, True), (float, math.inf, False), (float, None, False),
        (bool, None, True), (bool, 1, True), (bool, "yes", False),
        (list[str] | str | None, ["a"], True), (list[str] | None, [1], False),
        (dict | None, {}, True), (dict | None, [], False), (set[int] | None, [1, 2], True),
        (Literal["none", "all"], "all", True), (Literal["none", "all"], "some", False),
        (Literal["niter_[n]"], "niter_4", True),
    ],
)  # fmt: skip
def test_values_of_json(hint, value, suitable):
    assert suits(hint, 0, value) is suitable


def test_a_field_whose_default_is_null_can_be_null():
    assert suits(int, None, None)
    assert not suits(int, 8, None)


def test_fields_are_those_of_peft():
    assert field_types("LORA")["r"] == (int, 8)
    assert is_prompt_type("PREFIX_TUNING")
    assert not is_prompt_type("LORA")


def test_a_factor_may_be_a_fraction_though_peft_declares_an_integer():
    for kind, name in (("DELORA", "delora_lambda"), ("RANDLORA", "randlora_alpha")):
        assert suits(*field_types(kind)[name], 15.0)
        assert not suits(*field_types(kind)[name], "15")
    assert not suits(*field_types("DELORA")["r"], 15.0)


def test_counts_and_finite_numbers():
    assert is_count(1, 1)
    assert not is_count(2**70, 0)
    assert not is_finite(float("nan"))
    assert not is_finite(10**400)
