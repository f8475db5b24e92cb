import pytest
from scipy.stats import t

from peftlens.numerics.margins import equivalent, exceeds
from peftlens.numerics.mixed_model import Estimate


def effect(value, error=0.01, freedom=9):
    return Estimate(value, degrees_of_freedom=freedom, standard_error=error)


def test_an_effect_exceeds_a_margin_where_the_interval_does():
    half = t.ppf(0.975, 9) * 0.01
    assert exceeds(effect(0.02 + half + 1e-6), 0.02, 0.025) is True
    assert exceeds(effect(0.02 + half - 1e-6), 0.02, 0.025) is None
    assert exceeds(effect(0.02 - half - 1e-6), 0.02, 0.025) is False


def test_without_an_interval_nothing_is_decided():
    assert exceeds(Estimate(1.0), 0.0, 0.025) is None
    assert equivalent([Estimate(0.0)], -1, 1, 0.025) == (None, [False])


def test_equivalence_is_by_the_90_percent_interval():
    half = t.ppf(0.95, 9) * 0.01
    assert equivalent([effect(0.02 - half - 1e-6)], -0.02, 0.02, 0.025)[0] is True
    assert equivalent([effect(0.02 - half + 1e-6)], -0.02, 0.02, 0.025)[0] is None


def test_all_must_be_inside_and_one_outside_is_enough():
    inside, outside, open_ = effect(0.0, 0.001), effect(-0.1), effect(0.02)
    assert equivalent([inside, inside], -0.02, 0.02, 0.025) == (True, [False, False])
    assert equivalent([inside, open_], -0.02, 0.02, 0.025) == (None, [False, False])
    assert equivalent([inside, outside], -0.02, 0.02, 0.025) == (False, [False, True])


@pytest.mark.parametrize(("n", "outside"), [(1, True), (2, False)])
def test_one_outside_is_corrected_for_the_number(n, outside):
    p = 0.02  # below 0.025 alone, and not twice
    one = effect(0.02 + t.isf(p, 9) * 0.01)
    assert any(equivalent([one] + [effect(0.0)] * (n - 1), -0.02, 0.02, 0.025)[1]) is outside
