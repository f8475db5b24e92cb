"""Flips against tables worked out by hand, and their correction against simulated guessing."""

import numpy as np
import pytest

from peftlens.numerics.answer_flips import answer_flips


def table(kept, lost, gained, never):
    """Answers with these counts of 1→1, 1→0, 0→1 and 0→0."""
    before = np.repeat([1.0, 1.0, 0.0, 0.0], [kept, lost, gained, never])
    after = np.repeat([1.0, 0.0, 1.0, 0.0], [kept, lost, gained, never])
    return before, after


def test_a_table_by_hand():
    """Of 100 questions with four options: 50 stay right, 20 are lost, 10 gained, 20 stay wrong.

    Wrong are 0.3 before and 0.4 after, so 0.3 x 0.4 / 3 = 0.04 flip by guessing, either way.
    """
    found = answer_flips(*table(50, 20, 10, 20), np.full(100, 4.0))
    assert (found.lost, found.gained) == (0.2, 0.1)
    assert found.by_guessing == pytest.approx(0.04)


@pytest.mark.parametrize(
    ("lost", "gained", "p"),
    [
        (5, 0, 2 / 2**5),  # five flips in one direction
        (3, 1, 2 * (1 + 4) / 2**4),  # at most one of four, doubled
        (6, 2, 2 * (1 + 8 + 28) / 2**8),
        (4, 4, 1.0),
        (0, 0, 1.0),  # no flip at all
    ],
)
def test_mcnemar_by_hand(lost, gained, p):
    assert answer_flips(*table(9, lost, gained, 9)).p_value == pytest.approx(p)


def test_questions_with_two_and_with_five_options_are_corrected_apart():
    """Half wrong before and after: 0.25 / 1 of two options, 0.25 / 4 of five; in equal numbers."""
    before = np.tile([1.0, 0.0], 20)
    after = np.tile([1.0, 0.0, 0.0, 1.0], 10)
    options = np.repeat([2.0, 5.0], 20)
    assert answer_flips(before, after, options).by_guessing == pytest.approx((0.25 + 0.0625) / 2)


@pytest.mark.parametrize("k", [2, 4])
def test_nothing_is_left_of_two_models_that_only_guess(k):
    generator = np.random.default_rng(0)
    before, after = (generator.random((2, 200_000)) < 1 / k).astype(float)
    found = answer_flips(before, after, np.full(len(before), float(k)))
    assert found.by_guessing == pytest.approx((k - 1) / k**2, abs=3e-3)
    assert found.lost == pytest.approx(found.by_guessing, abs=3e-3)
    assert found.gained == pytest.approx(found.by_guessing, abs=3e-3)


def test_what_a_model_forgets_is_what_is_left_where_the_assumption_holds():
    """Known before with 0.6 and after with 0.45, independently; the rest is guessed among four.

    Lost beyond guessing is then known before and wrong after: 0.6 x 0.55 x 3/4.
    """
    generator = np.random.default_rng(0)
    known = generator.random((2, 400_000)) < [[0.6], [0.45]]
    right = (known | (generator.random(known.shape) < 0.25)).astype(float)
    found = answer_flips(*right, np.full(known.shape[1], 4.0))
    assert found.lost - found.by_guessing == pytest.approx(0.6 * 0.55 * 0.75, abs=3e-3)


def test_answers_that_can_not_be_are_refused():
    one = np.ones(2)
    for before, after, options in [(one / 2, one, None), (one[:0], one[:0], None),
                                   (one, one, one)]:  # fmt: skip
        with pytest.raises(ValueError, match="must h"):
            answer_flips(before, after, options)
