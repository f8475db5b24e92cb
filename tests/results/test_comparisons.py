import pytest
from scipy.stats import nct, t

from peftlens.numerics.mixed_model import Estimate, VarianceComponents
from peftlens.results.comparisons import Comparison, Requirement, all_hold, size_text, widest

OPEN = "insufficient evidence"


def one(value=0.0, error=0.005, *, seeds=3, items=None, components=None, **margins):
    estimate = Estimate(value, degrees_of_freedom=seeds - 1, standard_error=error,
                        components=components)  # fmt: skip
    return Comparison(
        what="a against b", estimate=estimate, n_seeds=seeds, n_items=items, **margins
    )


def share(holds, n):
    return Comparison(
        what="",
        estimate=Estimate(holds / n),
        low=0.5,
        effect=0.8,
        n_seeds=n,
        noun="run",
        kind="share",
    )


def test_a_side_is_tested_against_its_margin():
    above = one(0.01, low=0.0)
    assert above.holds == pytest.approx(t.sf(2, 2))
    assert above.fails == pytest.approx(t.cdf(2, 2))
    below = one(0.01, high=0.02)
    assert below.holds == pytest.approx(t.cdf(-2, 2))
    assert below.fails == pytest.approx(t.sf(-2, 2))


def test_equivalence_is_at_twice_the_level():
    between = one(0.005, low=-0.02, high=0.02)
    assert between.holds == pytest.approx(t.sf(3, 2) / 2)
    assert between.fails == pytest.approx(t.sf(-3, 2))


def test_a_share_is_tested_exactly():
    assert share(6, 6).holds == pytest.approx(0.5**6)
    assert share(1, 6).fails == pytest.approx(7 / 64)


@pytest.mark.parametrize(
    ("values", "holds"),
    [((0.0, 0.0), True), ((0.0, -0.02), None), ((0.0, -0.9), False), ((-0.9, -0.9), False)],
)
def test_all_must_hold(values, holds):
    assert all_hold([one(value, low=-0.02, error=0.002) for value in values], 0.025) is holds


def test_one_that_fails_is_corrected_for_all():
    failing = one(-0.02 - 0.005 * 5, low=-0.02)  # p = 0.019
    assert all_hold([failing], 0.025) is False
    assert all_hold([failing, one(low=-0.02)], 0.025) is None


def test_without_an_interval_nothing_is_decided():
    bare = Comparison(what="", estimate=Estimate(1.0), low=0.0, n_seeds=1)
    assert all_hold([bare], 0.025) is None
    between = Comparison(what="", estimate=Estimate(0.0), low=-1, high=1, n_seeds=1)
    assert all_hold([between], 0.025) is None


def test_all_must_be_between_their_margins_and_one_outside_is_corrected():
    margins = {"low": -0.02, "high": 0.02}
    inside, open_ = one(error=0.001, **margins), one(0.02, **margins)
    assert all_hold([inside, inside], 0.025) is True
    assert all_hold([inside, open_], 0.025) is None
    outside = one(0.02 + 0.005 * 5, **margins)  # p = 0.019 on that side
    assert all_hold([outside], 0.025) is False
    assert all_hold([outside, inside], 0.025) is None
    assert all_hold([one(-0.1, **margins), inside], 0.025) is False


def test_seeds_for_a_single_comparison():
    """Without scores of items the whole variance is that of seeds: 0.0087 of one."""
    found = one(low=-0.01).required(0.025)
    n, error = found.seeds, 0.005 * 3**0.5
    powers = [nct.sf(t.isf(0.025, k - 1), k - 1, 0.01 / error * k**0.5) for k in (n - 1, n)]
    assert powers[0] < 0.8 <= powers[1]
    assert found.items is None


def test_more_comparisons_looks_and_power_need_more():
    alone = one(low=-0.01).required(0.025).seeds
    several = one(low=-0.01).required(0.025, comparisons=5).seeds
    looks = one(low=-0.01).required(0.025, looks=6).seeds
    power = one(low=-0.01).required(0.025, power=0.9).seeds
    assert min(several, looks, power) > alone


def test_items_are_the_other_way():
    noise = VarianceComponents(0.0, 0.0005, 0.066)
    found = one(low=-0.01, seeds=3, items=419, components=noise).required(0.025, comparisons=5)
    assert found == Requirement(28, pytest.approx(1210, abs=25))
    items = VarianceComponents(0.0, item=0.14)
    assert one(low=-0.02, items=300, components=items).required(0.025).seeds is None


def test_a_share_needs_runs_and_one_seed_no_plan():
    assert share(3, 6).required(0.025) == Requirement(23)
    assert one(low=-0.01, seeds=1).required(0.025) is None
    assert size_text(OPEN, [one(low=-0.01, seeds=1)], 0.025) == ""
    assert size_text(OPEN, [], 0.025) == ""


def test_the_widest_of_those_that_are_open_is_planned():
    decided, narrow, wide = one(5.0, low=0.0), one(error=0.002, low=-0.01), one(low=-0.01)
    assert widest(OPEN, [decided, narrow, wide], 0.001)[0] is wide
    assert widest(OPEN, [decided], 0.025) is None  # something else is open


def test_the_size_in_words():
    assert size_text(OPEN, [one(low=-0.01)], 0.025) == (
        "With power 0.8, about 9 seeds would decide."
    )
    noise = VarianceComponents(0.0, 0.0005, 0.066)
    text = size_text(OPEN, [one(low=-0.01, items=419, components=noise)], 0.025)
    assert text == (
        "With power 0.8, about 16 seeds or 10 seeds with 683 examples each would decide."
    )
    assert size_text(OPEN, [share(3, 6)], 0.025) == "With power 0.8, about 23 runs would decide."
    assert size_text(OPEN, [one(-0.01, error=0.001, low=-0.01)], 0.025) == (
        "3 seeds of such noise have power 0.8 already: the true value seems to be near a margin."
    )
    both = VarianceComponents(0.002, item=0.14)  # ten seeds have too much noise of their own
    assert "about" not in (
        text := size_text(OPEN, [one(low=-0.02, items=300, components=both)], 0.025)
    )
    assert text.startswith("With power 0.8, 80 seeds with ")


def test_beside_a_contradiction_by_absence_stands_the_size_that_would_have_shown_the_effect():
    absent, other = one(error=0.001, low=0.01, effect=0.02), one(low=0.01, effect=0.02, error=0.05)
    assert size_text("contradicted", [absent, other], 0.025) == (
        "Had the truth been +2 points, about 3 seeds would have shown it with power 0.8."
    )
    assert size_text("contradicted", [share(0, 9)], 0.025).startswith(
        "Had the truth been 80%, about"
    )
    assert size_text("contradicted", [other], 0.025) == ""  # something else contradicts
    assert size_text("supported", [other], 0.025) == ""


def test_a_contradiction_by_an_effect_that_was_seen_needs_no_power():
    less = {"high": -0.01, "effect": -0.02}  # a claim that something lies below zero
    assert size_text("contradicted", [one(error=0.002, **less)], 0.025) != ""
    reversed_ = one(0.05, error=0.01, **less)  # p = 0.019 of a mean above zero
    assert size_text("contradicted", [reversed_], 0.025) == ""
    # of two comparisons it is too much, and the other one contradicts by the absence of an effect
    assert size_text("contradicted", [reversed_, one(error=0.001, **less)], 0.025) != ""
    assert size_text("contradicted", [one(-0.2, error=0.002, low=-0.01)], 0.025) == ""
