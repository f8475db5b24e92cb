import numpy as np
import pytest

from peftlens.numerics.rank_overlap import rank_biased_overlap


@pytest.mark.parametrize("length", [1, 2, 20])
def test_equal_lists_have_1_and_disjoint_ones_0(length):
    items = [*range(length)]
    assert rank_biased_overlap(items, items) == pytest.approx(1)
    assert rank_biased_overlap(items, [item + length for item in items]) == 0


def test_two_lists_by_hand():
    """Common at depths 1 to 3: 0 of 1, 2 of 2, 2 of 3; p = 0.5.

    0.5 * 0 + 0.25 * 1 + 0.125 * 2/3, and behind the end 0.125 * 2/3.
    """
    assert rank_biased_overlap("abc", "bad", 0.5) == pytest.approx(0.25 + 0.25 * 2 / 3)
    assert rank_biased_overlap("bad", "abc", 0.5) == pytest.approx(0.25 + 0.25 * 2 / 3)


def test_one_common_item_at_the_end_has_the_closed_form():
    """Its share at depth k is 1/k: (1 − p) p^(k−1) / k at the end, p^k / k behind it."""
    one, other = ["a", "b", "c", "x"], ["d", "e", "f", "x"]
    assert rank_biased_overlap(one, other, 0.8) == pytest.approx((0.2 * 0.8**3 + 0.8**4) / 4)


def test_the_first_ranks_weigh_most():
    above = rank_biased_overlap("abcdef", "abcxyz")
    below = rank_biased_overlap("abcdef", "xyzabc")
    assert above > below > 0


def test_the_infinite_sum_is_reached_by_lists_that_go_on_alike():
    """Webber's definition (1 − p) Σ p^(d−1) A_d, summed to a depth where p^d is nothing."""
    one, other = [*range(400)], [1, 0, *range(2, 400)]
    shares = np.array([0.0, *np.ones(399)])
    weights = 0.1 * 0.9 ** np.arange(400)
    assert rank_biased_overlap(one, other) == pytest.approx(weights @ shares)
    assert rank_biased_overlap(one[:5], other[:5]) == pytest.approx(weights @ shares)


def test_the_longer_list_is_cut():
    assert rank_biased_overlap("abcdef", "abc") == pytest.approx(1)


@pytest.mark.parametrize(
    ("one", "other", "p", "message"),
    [
        ("", "abc", 0.9, "must have items"),
        ("aab", "abc", 0.9, "none of them twice"),
        ("abc", "bbc", 0.9, "none of them twice"),
        ("abc", "abc", 1.0, "persistence=1.0 must lie between 0 and 1"),
    ],
)
def test_what_is_no_ranked_list_is_refused(one, other, p, message):
    with pytest.raises(ValueError, match=message):
        rank_biased_overlap(one, other, p)
