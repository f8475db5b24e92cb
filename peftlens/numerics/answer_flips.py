"""Answer flips: questions that a tuned model answers wrong and its base right, and the reverse.

An accuracy that stays equal can hide facts that were lost and others that were gained, and some
flips are luck: who guesses twice is right once now and then.

Source: Harmon et al. 2025, arXiv:2510.17776, for the counts and the idea of the correction.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest


@dataclass(frozen=True)
class Flips:
    """Flips of the answers to n questions.

    Attributes:
        lost: share of the questions answered right before and wrong after.
        gained: share of the questions answered wrong before and right after.
        by_guessing: share expected of each by guessing alone; None without numbers of options.
        p_value: two-sided p of McNemar's exact test, that losses and gains are equally likely.
    """

    lost: float
    gained: float
    by_guessing: float | None
    p_value: float


def answer_flips(
    before: NDArray[np.floating],
    after: NDArray[np.floating],
    options: NDArray[np.floating] | None = None,
) -> Flips:
    """Count flips, and test whether losses and gains are equally likely.

    Args:
        before: 1 for each right answer before, 0 for each wrong one, shape (n,).
        after: the same questions after, shape (n,).
        options: number of candidate answers of each question, shape (n,); None if unknown.

    Raises:
        ValueError: there is no question, an answer is neither 0 nor 1, or a question has less than
            two options.

    Source: McNemar 1947, Psychometrika 12(2), as the exact test: losses among all flips are
        binomial with probability 1/2.
    """
    if not len(before) or not set(np.unique([before, after])) <= {0.0, 1.0}:
        raise ValueError("before and after must hold a 0 or 1 for at least one question")
    lost = int(((before == 1) & (after == 0)).sum())
    gained = int(((before == 0) & (after == 1)).sum())
    p_value = float(binomtest(lost, lost + gained).pvalue) if lost + gained else 1.0
    chance = None if options is None else _by_guessing(before, after, options)
    return Flips(lost / len(before), gained / len(before), chance, p_value)


def _by_guessing(
    before: NDArray[np.floating], after: NDArray[np.floating], options: NDArray[np.floating]
) -> float:
    """Return the share of 1→0 flips expected by guessing, which is also that of 0→1 flips.

    Assumes that a model knows a question or guesses evenly among its k options, and that the luck
    of a guess before is independent of being wrong after. Every wrong answer is then a failed
    guess, of which there are k - 1 for each lucky one: a share w of wrong answers means w / (k - 1)
    of lucky ones. Lucky before and wrong after is w_before w_after / (k - 1); the reverse is the
    same. A model below chance counts as one that guesses all. Where both models fail on the same
    questions, more flip by guessing than this; where the tuned model repeats its base's guesses,
    fewer.
    """
    if (options < 2).any():
        raise ValueError("a question must have two options or more")
    expected = 0.0
    for k in np.unique(options):
        same = options == k
        most = (k - 1) / k  # wrong answers of one who guesses all
        wrong = [min(1 - float(one[same].mean()), most) for one in (before, after)]
        expected += float(same.mean()) * wrong[0] * wrong[1] / (k - 1)
    return expected
