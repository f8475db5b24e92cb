"""The more two adapters' updates conflict, the less of their tasks is kept when added.

Rule: a point is a configuration and a pair of tasks; the share of the entries' magnitudes that
cancels (`canceled`, as `peftlens compare` has it) and the share of the gain in loss that is lost
(one minus `kept`) are means over the seeds and over both tasks. Spearman's rank correlation of the
two has a 95 % interval by Fisher's z with the standard error of Bonett & Wright 2000 (Psychometrika
65, 23-28). Supported if all of it lies above 0.3, contradicted if all of it lies below: a measure
that orders pairs less well is of no use in choosing them. With fewer than six points it is not
measured. Limits: points that share an adapter are not independent, so that the interval is somewhat
too narrow; and longer updates conflict in more entries, whatever their tasks. Runs that have gained
nothing over the base have nothing to lose, and are left out.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm, spearmanr

from peftlens.claims import ONE_SIDED, Outcome

CLAIM = "The more two adapters' updates conflict, the less of their tasks is kept when added."
SOURCE = "Yadav et al. 2023, arXiv:2306.01708, section 3"
NEEDS = ("combination",)
TO_MEASURE = (
    "give the study a [continual] table of four tasks or more, and measure the probe combination"
)
ANALYSIS = "combining"
MARGIN = 0.3  # correlation, which explains a tenth of the ranks' variance
_FEWEST = 6  # points


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> tuple[Outcome, str]:
    """Judge by the rank correlation of what cancels and what is lost."""
    points = _points(tables["combination"])
    if len(points) < _FEWEST:
        return "not measured", (
            f"There are {len(points)} pairs of tasks with adapters that gained on both, and "
            f"{_FEWEST} are needed."
        )
    if points["canceled"].nunique() == 1 or points["lost"].nunique() == 1:
        return "insufficient evidence", (
            f"All {len(points)} pairs of tasks cancel alike, or lose alike: there is no order."
        )
    correlation: Any = spearmanr(points["canceled"], points["lost"])
    value = float(correlation.statistic)
    low, high = _interval(value, len(points))
    lower, upper = _interval(value, len(points), alpha)
    sentence = (
        f"Over {len(points)} pairs of tasks, of which {points['lost'].mean():.0%} of the gain is "
        f"lost on average and {points['canceled'].mean():.0%} of the magnitudes cancel, the rank "
        f"correlation of the two is {value:.2f} (95 % interval {low:.2f} to {high:.2f})."
    )
    if lower > MARGIN:
        return "supported", sentence
    return ("contradicted" if upper < MARGIN else "insufficient evidence"), sentence


def _points(frame: pd.DataFrame) -> pd.DataFrame:
    """Average over seeds and both tasks of each pair: one row per configuration and pair."""
    rows = frame.dropna(subset=["canceled", "kept"])
    pairs = ["|".join(sorted(pair)) for pair in zip(rows["task"], rows["other_task"], strict=True)]
    rows = rows.assign(pair=pairs, lost=1 - rows["kept"].astype(float))
    names = ["study"] if "study" in rows else []
    ends = [
        "|".join(sorted(pair))
        for pair in zip(rows["configuration"], rows["other_configuration"], strict=True)
    ]
    keys = [*names, "ends", "pair"]
    return rows.assign(ends=ends).groupby(keys)[["canceled", "lost"]].mean().reset_index()


def _interval(value: float, n: int, alpha: float = ONE_SIDED) -> tuple[float, float]:
    """Return the ends of the interval of Spearman's correlation of n points, each at a level."""
    if abs(value) == 1:  # z is infinite: as for the largest correlation that n points leave
        value = np.sign(value) * (1 - 1 / n**2)
    error = np.sqrt((1 + value**2 / 2) / (n - 3))
    z, width = np.arctanh(value), norm.isf(alpha) * error
    return float(np.tanh(z - width)), float(np.tanh(z + width))
