"""The directions of an update say what it was trained on.

Rule: `update_directions` reads the strongest directions of each update as words and tests these for
relevance to the training text. A run's excess is the share of its directions found at p ≤ 0.05
minus the share of random directions found by the same test. The population are runs, over seeds and
tasks. A method's directions say what it was trained on if the mean excess is above five points
(Student's t over three runs or more); where it is below, they do not, if directions with a cosine
of 0.8 to words of the training text would be found with power 0.8. Each at one-sided 0.025 after
Holm's correction for the number of methods. Supported if this holds for every method whose updates
have such directions; contradicted if it fails for one. The margin covers the error of the share of
random directions, which all runs of a task have in common.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import Evidence, Outcome, counted_runs, every_method, mean_over_runs
from peftlens.numerics.mixed_model import POWER

CLAIM = "The directions of an update say what it was trained on."
SOURCE = "Zhong & Raghunathan 2025, arXiv:2508.00161, abstract"
NEEDS = ("update_directions",)
TO_MEASURE = (
    "train lora and other methods that change weights over three seeds or more on two tasks, and "
    "measure the probe update_directions"
)
ANALYSIS = "lens"
MARGIN = 0.05
EFFECT = 0.8  # cosine to words of the training text


def verdict(tables: Mapping[str, pd.DataFrame]) -> tuple[Outcome, str]:
    """Judge by each method's share of directions found beyond that of random directions."""
    rows = tables["update_directions"].dropna(subset=["p", "found_random"])
    if rows.empty:
        return "not measured", "No run with a known training text has directions."
    evidence, texts = {}, {}
    for name, one in rows.groupby("method", sort=False):
        evidence[str(name)], texts[str(name)] = _method(one)
    outcome, shown = every_method(evidence, texts)
    return outcome, (
        f"More of the directions than of random ones ({_random(rows):.1%} of these) have words of "
        f"the training text: {shown}; the power is that of a cosine of {EFFECT} to such words."
    )


def _method(rows: pd.DataFrame) -> tuple[Evidence, str]:
    """Test the mean excess of one method's runs, and show it."""
    excess = rows["found"].astype(float) - rows["found_random"].astype(float)
    mean = mean_over_runs(excess.groupby(rows["run"]).mean())
    power = float(rows[f"power_at_{EFFECT}"].astype(float).min(skipna=False))
    fails = mean.p_below(MARGIN) if power >= POWER else 1.0
    text = f"{100 * mean.value:+z.1f} points"
    if mean.low is not None and mean.high is not None:
        text += f", {100 * mean.low:+z.1f} to {100 * mean.high:+z.1f}"
    text += f", {counted_runs(rows['run'].nunique())}, power {power:.2f}"
    return Evidence(mean.p_above(MARGIN), fails), text


def _random(rows: pd.DataFrame) -> float:
    return float(rows["found_random"].astype(float).mean())
