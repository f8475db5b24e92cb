import datetime
from decimal import Decimal

import pytest

from peftlens.data.cells import LONGEST, as_text, is_whole_float, look, unusable, whole_number


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("x", "x"),
        (3, "3"),
        (3.0, "3"),
        (-0.0, "0"),
        (3.5, "3.5"),
        (1e300, "1e+300"),
        (True, "True"),
        (b"caf\xc3\xa9", "café"),
        (Decimal("1.50"), "1.50"),
        (datetime.date(2024, 5, 6), "2024-05-06"),
        (None, None),
        (float("nan"), None),
    ],
)
def test_scalar_cells_are_text(cell, text):
    assert as_text(cell) == text


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (None, "missing"),
        (float("nan"), "missing"),
        (" \n", "empty"),
        ("\ud800", "not valid Unicode"),
        ("👍 مرحبا", None),
        ("x" * 1_000_000, None),
        ("x" * (LONGEST + 1), "longer than 2,000,000 characters"),
        (["a"], "a list instead of text"),
        ({"role": "user"}, "an object instead of text"),
        (b"\xff", "bytes that are not UTF-8"),
    ],
)
def test_cells_that_can_not_be_used_say_why(cell, reason):
    assert unusable(as_text(cell)) == reason


@pytest.mark.parametrize(
    "other",
    [
        " yes\n",
        "yes\r",
        "\u00a0yes",
        "ye\u200bs",
        "\ufeffyes",
        "\uff59es",
        "ye\u00ads",
        "yes\x00",
        "\u202eyes",
    ],
)
def test_texts_that_look_alike(other):
    assert look(other) == look("yes")


def test_unicode_forms_and_inner_space():
    assert look("caf\u00e9") == look("cafe\u0301")
    assert look("very\u00a0 good") == "very good"
    assert look("Yes") != look("yes")


@pytest.mark.parametrize(
    ("cell", "number"),
    [(2, 2), (2.0, 2), (2.5, None), (True, None), ("2", 2), (" 2.0 ", 2), ("2a", None),
     ("-1", -1), ("9" * 5000, None), (float("inf"), None), (None, None), ("²", 2)],
)  # fmt: skip
def test_whole_numbers(cell, number):
    assert whole_number(cell) == number


def test_floats_that_were_integers():
    assert [is_whole_float(text) for text in ("1.0", "-2.00", "1", "1.5", "v1.0")] == [
        True, True, False, False, False,
    ]  # fmt: skip
