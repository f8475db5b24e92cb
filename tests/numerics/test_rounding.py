import numpy as np
import pandas as pd
import pytest

from peftlens.numerics.rounding import decimals, interval, number


@pytest.mark.parametrize(
    ("half_width", "digits"), [(0.119, 2), (0.355, 1), (0.367, 1), (0.0354, 3), (0.96, 1), (9.6, 0)]
)
def test_rule_of_354(half_width, digits):
    """The first and third are the source's own: 0.83 ± 0.12 and 0.8 ± 0.4, of 0.827."""
    assert decimals(half_width) == digits


def test_a_number_has_as_many_digits_as_its_interval():
    assert interval(0.8126, 0.7634, 0.8531) == "0.81 (0.76 to 0.85)"
    assert interval(-0.01234, -0.0334, 0.0066) == "-0.012 (-0.033 to 0.007)"
    assert interval(1234567, 1134567, 1334567) == "1,234,567 (1,134,567 to 1,334,567)"


def test_without_an_interval():
    assert interval(0.123456, None, None) == "0.1235"
    assert interval(0.5, float("nan"), 1.0) == "0.5"
    assert interval(0.5, 0.5, 0.5) == "0.5 (0.5 to 0.5)"
    assert number(np.int64(134515008)) == "134,515,008"
    assert number(134515008.0) == "134,515,008"
    assert number(23456.7) == "23,457"
    assert number(pd.NA) == number(None) == "–"
    assert number(True) == "True"


def test_zero_has_no_sign():
    assert interval(-0.001, -0.04, 0.04) == "0.00 (-0.04 to 0.04)"
    assert interval(0.04, -0.001, 0.08) == "0.04 (0.00 to 0.08)"
    assert interval(-0.3, -40.0, 40.0) == "0 (-40 to 40)"
    assert number(-0.0) == "0"
    assert number(-0.04) == "-0.04"


def test_a_list_is_joined_and_its_whole_numbers_are_ids():
    assert number(np.array([0.123456, -2.0])) == "0.1235 -2"
    assert number([12345, 7]) == "12345 7"
    assert number(np.array(["␣a", "b"], object)) == "␣a b"
    assert number([]) == ""
    assert number("word") == "word"
