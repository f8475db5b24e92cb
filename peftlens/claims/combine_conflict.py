"""The more two adapters' updates conflict, the less of their tasks is kept when added.

Rule: a point is a configuration and a pair of tasks; the share of the entries' magnitudes that
cancels (`canceled`, as `peftlens compare` has it) and the share of the gain in loss that is lost
(one minus `kept`) are means over the seeds and over both tasks. Spearman's rank correlation of the
two has a 95 % interval by Fisher's z. Points that share a task are not independent, so its standard
error is that of the jackknife that leaves out one task with all its points at a time (Efron & Stein
1981, Annals of Statistics 9, 586-596), with Student's t of as many degrees of freedom as tasks but
one: in simulations it covers 94 to 100 %, where that of independent points covers 57 to 98 %.
Supported if all of it lies above 0.3, contradicted if all of it lies below: a measure that orders
pairs less well is of no use in choosing them. With fewer than five tasks it is not measured. Limit:
longer updates conflict in more entries, whatever their tasks. Runs that have gained nothing over
the base have nothing to lose, and are left out.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from peftlens.claims import ONE_SIDED, Judgment, outcome_of
from peftlens.numerics.mixed_model import LEVEL, Estimate
from peftlens.results.comparisons import Comparison, all_hold

CLAIM = "The more two adapters' updates conflict, the less of their tasks is kept when added."
SOURCE = "Yadav et al. 2023, arXiv:2306.01708, section 3"
NEEDS = ("combination",)
TO_MEASURE = (
    "give the study a [continual] table of five tasks or more, and measure the probe combination"
)
CRITERION = "conflict and the share of the gain that is lost have a rank correlation above 0.3"
PRACTICE = {
    "supported": "Compare adapters before adding them, and keep those in conflict apart.",
    "contradicted": "Measure the tasks after adding adapters; low conflict promises nothing.",
}
ANALYSIS = "combining"
MARGIN = 0.3  # correlation, which explains a tenth of the ranks' variance
EFFECT = 0.7  # correlation that a study should find
_FEWEST = 5  # tasks


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> Judgment:
    """Judge by the rank correlation of what cancels and what is lost."""
    points = _points(tables["combination"])
    tasks = {task for pair in points["pair"] for task in pair}
    if len(tasks) < _FEWEST:
        return Judgment(
            "not measured",
            f"There are {len(tasks)} tasks with adapters that gained on both of a pair, and "
            f"{_FEWEST} are needed.",
        )
    if points["canceled"].nunique() == 1 or points["lost"].nunique() == 1:
        return Judgment(
            "insufficient evidence",
            f"All {len(points)} pairs of tasks cancel alike, or lose alike: there is no order.",
        )
    found = correlation(points)
    assert found.low is not None and found.high is not None
    value, low, high = np.tanh([found.value, found.low, found.high])
    sentence = (
        f"Over {len(points)} pairs of tasks, of which {points['lost'].mean():.0%} of the gain is "
        f"lost on average and {points['canceled'].mean():.0%} of the magnitudes cancel, the rank "
        f"correlation of the two is {value:.2f} (95 % interval {low:.2f} to {high:.2f})."
    )
    comparison = Comparison(
        what="correlation of what cancels and what is lost (Fisher's z)",
        estimate=found,
        low=float(np.arctanh(MARGIN)),
        effect=float(np.arctanh(EFFECT)),
        unit="z",
        n_seeds=len(tasks),
    )
    return Judgment(outcome_of(all_hold([comparison], alpha)), sentence, (comparison,))


def _points(frame: pd.DataFrame) -> pd.DataFrame:
    """Average over seeds and both tasks of each pair: one row per configuration and pair."""
    rows = frame.dropna(subset=["canceled", "kept"])
    names = ["study"] if "study" in rows else []
    pairs = _ordered(rows["task"], rows["other_task"])
    ends = _ordered(rows["configuration"], rows["other_configuration"])
    rows = rows.assign(pair=pairs, ends=ends, lost=1 - rows["kept"].astype(float))
    return rows.groupby([*names, "ends", "pair"])[["canceled", "lost"]].mean().reset_index()


def _ordered(ones: pd.Series, others: pd.Series) -> pd.Series:
    """Return pairs of names in alphabetical order."""
    pairs = [tuple(sorted(pair)) for pair in zip(ones, others, strict=True)]
    return pd.Series(pairs, ones.index, dtype=object)


def correlation(points: pd.DataFrame) -> Estimate:
    """Estimate Fisher's z of the rank correlation, by the jackknife over tasks.

    Args:
        points: one row per pair of tasks, with columns pair (the two names), canceled and lost.
    """
    tasks = sorted({task for pair in points["pair"] for task in pair})
    without = [points[[task not in pair for pair in points["pair"]]] for task in tasks]
    values = np.array([_fisher_z(one) for one in without])
    n = len(tasks)
    error = float(np.sqrt((n - 1) / n * np.square(values - values.mean()).sum()))
    found = Estimate(_fisher_z(points), degrees_of_freedom=n - 1, standard_error=error)
    return found.at_level(LEVEL)


def _fisher_z(points: pd.DataFrame) -> float:
    """Return Fisher's z of Spearman's correlation; 0 where there is no order."""
    if min(points["canceled"].nunique(), points["lost"].nunique()) < 2:
        return 0.0
    correlation: Any = spearmanr(points["canceled"], points["lost"])
    largest = 1 - 1 / len(points) ** 2  # z of 1 is infinite
    return float(np.arctanh(np.clip(correlation.statistic, -largest, largest)))
