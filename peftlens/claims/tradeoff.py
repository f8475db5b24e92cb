"""Methods trade parameter efficiency against compute efficiency; selective ones are mixed.

Rule: Spearman's correlation, over configurations at their best learning rates, between trainable
parameters and the time of a training step, with a 95 % bootstrap interval over configurations. A
trade means that fewer parameters cost more time: supported if the interval lies below zero,
contradicted if above. At least six configurations of three methods are needed. The accuracies of
selective methods are reported, and do not decide.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from peftlens import registry
from peftlens.claims import Outcome
from peftlens.numerics.resampling import LEVEL, RESAMPLES

CLAIM = "Methods trade parameter efficiency against compute efficiency; selective ones are mixed."
SOURCE = "common teaching; Lialin et al. 2023, arXiv:2303.15647"
NEEDS = ("rank_chart",)
TO_MEASURE = (
    "train six configurations of at least three methods, over several seeds and learning rates"
)
ANALYSIS = "comparison"


def verdict(tables: Mapping[str, pd.DataFrame]) -> tuple[Outcome, str]:
    """Judge by the correlation of size and time."""
    rows = tables["rank_chart"].dropna(subset="step_seconds")
    rows = rows[rows["trainable_parameters"] > 0]
    if len(rows) < 6 or rows["method"].nunique() < 3:
        return "not measured", "It needs six configurations of at least three methods."
    size = rows["trainable_parameters"].to_numpy(float)
    seconds = rows["step_seconds"].to_numpy(float)
    rng = np.random.default_rng(0)
    resampled = [_spearman(size[pick], seconds[pick])
             for pick in rng.integers(len(rows), size=(RESAMPLES, len(rows)))]  # fmt: skip
    low, high = np.nanquantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    sentence = (
        f"Over {len(rows)} configurations the correlation of trainable parameters with the time of "
        f"a step is {_spearman(size, seconds):+.2f} (95 % interval {low:+.2f} to {high:+.2f})."
    ) + _selective(rows)
    if high < 0:
        return "supported", sentence
    return ("contradicted" if low > 0 else "insufficient evidence"), sentence


def _spearman(one: np.ndarray, other: np.ndarray) -> float:
    if len(set(one)) < 2 or len(set(other)) < 2:
        return float("nan")
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


def _selective(rows: pd.DataFrame) -> str:
    names = registry.names("methods")
    family = {name: registry.describe("methods", name).constants.get("FAMILY")
              for name in rows["method"].unique() if name in names}  # fmt: skip
    selective = rows[rows["method"].map(family) == "selective"]
    if selective.empty:
        return ""
    places = rows["accuracy"].rank(ascending=False)[selective.index]
    each = (
        f"{row['configuration']} {row['accuracy']:.3f} (place {place:.0f})"
        for row, place in zip(selective.to_dict("records"), places, strict=True)
    )
    return f" Selective methods reach {', '.join(each)}."
