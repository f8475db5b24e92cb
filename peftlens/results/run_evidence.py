"""Evidence on methods from their runs: means, and finds compared with chance and with the power."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import binomtest, poisson_binom

from peftlens.numerics import counts
from peftlens.numerics.mixed_model import POWER, Estimate, holm
from peftlens.results.comparisons import Outcome

_SUSPECT = 0.1  # p of a number of finds up to which they are no evidence of absence


@dataclass(frozen=True)
class Evidence:
    """Evidence on one method, as one-sided p-values.

    Attributes:
        holds: p of the statement that a property does not hold; small if it holds.
        fails: p of the statement that it holds; small if it does not.
    """

    holds: float
    fails: float


@dataclass(frozen=True)
class FoundRuns:
    """Runs of one method, each with a test of its own.

    Attributes:
        found: whether the test found something, a bool for each run; runs that share a seed are
            one, see `by_seed`.
        power: probability with which it would find the stated effect, for each run; NaN if unknown.
        chance: share of runs in which it would find something by chance.
    """

    found: pd.Series
    power: pd.Series
    chance: float

    def evidence(self) -> Evidence:
        """Compare the number of finds with chance, and with what the power promises.

        If every run had the stated effect, the number of finds would be a sum of draws with the
        runs' power: too few for it show that not every run has the effect. The power is counted up
        to 0.8, because a few dozen planted effects measure it. Unknown power shows nothing, nor do
        so many finds that chance gives them in one of ten studies at most.
        """
        finds, n = int(self.found.sum()), len(self.found)
        above = float(binomtest(finds, n, self.chance, "greater").pvalue)
        if self.power.isna().any() or above <= _SUSPECT:
            return Evidence(above, 1.0)
        power = self.power.clip(upper=POWER).to_numpy()
        return Evidence(above, float(poisson_binom(power).cdf(finds)))

    def __str__(self) -> str:
        return (
            f"{self.found.sum()} of {counted_runs(len(self.found))}, power "
            f"{self.power.mean(skipna=False):.2f}"
        )


def counted_runs(n: int) -> str:
    """Format a number of runs, such as `1 run`."""
    return counts.counted(n, "run")


def every_method(
    evidence: Mapping[str, Evidence],
    texts: Mapping[str, object],
    least: int = 1,
    alpha: float = 0.025,
) -> tuple[Outcome, str]:
    """Judge whether a property holds for every method, after Holm's correction.

    Supported if it holds for every method; contradicted if it fails for one.

    Args:
        evidence: evidence on each method.
        texts: numbers of each method, shown in parentheses.
        least: number of methods without which it is not supported.
        alpha: one-sided joint level.

    Returns:
        Outcome, and the methods by what was decided on each, as part of a sentence.
    """
    holds = holm([one.holds for one in evidence.values()]) <= alpha
    fails = (holm([one.fails for one in evidence.values()]) <= alpha) & ~holds
    names = np.array([f"{name} ({texts[name]})" for name in evidence])
    groups = {"yes": holds, "no": fails, "undecided": ~(holds | fails)}
    shown = [f"{word} for {', '.join(names[one])}" for word, one in groups.items() if one.any()]
    outcome: Outcome = "insufficient evidence"
    if fails.any():
        outcome = "contradicted"
    elif holds.all() and len(holds) >= least:
        outcome = "supported"
    return outcome, "; ".join(shown)


def by_seed(values: pd.Series, rows: pd.DataFrame) -> pd.Series:
    """Average a value of runs over the configurations of one method that share a seed.

    They have the same data in the same order, so that together they are one piece of evidence.

    Args:
        values: one per run, indexed by the run's id.
        rows: rows of these runs, with their seed, and in pooled tables their study.
    """
    runs = rows.drop_duplicates("run").set_index("run")
    keys = [runs[name] for name in ("study", "seed") if name in runs]
    return values.astype(float).groupby(keys).mean()


def mean_over_runs(values: ArrayLike) -> Estimate:
    """Estimate a mean over runs, by Student's t; without an interval for fewer than three runs.

    Args:
        values: one per run, shape (n,).
    """
    array = np.asarray(values, float)
    mean, n = float(array.mean()), len(array)
    if n < 3:
        return Estimate(mean)
    error = float(array.std(ddof=1) / np.sqrt(n))
    return Estimate(mean, degrees_of_freedom=n - 1, standard_error=error).at_level(0.95)
