"""The directions of an update say what it was trained on.

Rule: `update_directions` reads the strongest directions of each update as words and tests these for
relevance to the training text: those that weights read, and those that they write. A run's excess
is the share of directions found at p ≤ 0.05 minus the share of random directions found by the same
test. The population are runs, over seeds and tasks. Runs of several configurations of a method with
one seed count as one. A method's directions say what it was trained on if the mean excess of either
side is above five points (Student's t over three runs or more, Bonferroni for two sides). They do
not if it is below on every side, in those runs in which directions of this side with a cosine of
0.8 to words of the training text would be found with power 0.8: where a side has no such runs, its
directions may say what the test can't find, and nothing is decided against the method. Each at
one-sided 0.025 after Holm's correction for the number of methods. Supported if this holds for every
method whose updates have such directions; contradicted if it fails for one. The margin covers the
error of the share of random directions, which all runs of a task have in common.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import ONE_SIDED, Judgment, difference_text
from peftlens.numerics.mixed_model import POWER, Estimate
from peftlens.results.comparisons import Comparison
from peftlens.results.run_evidence import (
    Evidence,
    by_seed,
    counted_runs,
    every_method,
    mean_over_runs,
)

CLAIM = "The directions of an update say what it was trained on."
SOURCE = "Zhong & Raghunathan 2025, arXiv:2508.00161, abstract"
NEEDS = ("update_directions",)
TO_MEASURE = (
    "train lora and other methods that change weights over three seeds or more on two tasks, and "
    "measure the probe update_directions"
)
CRITERION = (
    "for every method, the share of directions with words of the training text is over five "
    "points above that of random ones"
)
PRACTICE = {
    "supported": "Read an update's strongest directions to see what it was trained on.",
    "contradicted": "Don't expect the directions of every method to show its training text.",
}
ANALYSIS = "lens"
MARGIN = 0.05
EFFECT = 0.8  # cosine to words of the training text


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> Judgment:
    """Judge by each method's share of directions found beyond that of random directions."""
    rows = tables["update_directions"].dropna(subset=["p", "found_random"])
    if rows.empty:
        return Judgment("not measured", "No run with a known training text has directions.")
    evidence, texts, comparisons, unseen = {}, {}, [], []
    for method, one in rows.groupby("method", sort=False):
        name, means = str(method), {str(side): _mean_excess(of) for side, of in one.groupby("side")}
        evidence[name], texts[name] = _evidence(one, means), _text(one, means)
        comparisons.append(_best_side(name, one, means))
        below = max(mean.p_below(MARGIN) for mean in means.values())
        if below <= alpha < evidence[name].fails:
            unseen.append(name)
    outcome, shown = every_method(evidence, texts, alpha=alpha)
    random = float(rows["found_random"].astype(float).mean())
    sentence = (
        f"More of the directions than of random ones ({random:.1%} of these) have words of "
        f"the training text: {shown}. {_power(rows)}."
    )
    if outcome == "insufficient evidence" and unseen:
        sentence += f" More runs do not decide {', '.join(unseen)}, for lack of this power."
        return Judgment(outcome, sentence)
    return Judgment(outcome, sentence, tuple(comparisons))


def _evidence(rows: pd.DataFrame, means: Mapping[str, Estimate]) -> Evidence:
    """Test the mean excess of one method's runs on each side."""
    holds = min(1.0, len(means) * min(mean.p_above(MARGIN) for mean in means.values()))
    able = rows[rows[f"power_at_{EFFECT}"].astype(float) >= POWER]
    fails = [
        _mean_excess(one).p_below(MARGIN) if len(one) else 1.0
        for one in (able[able["side"] == side] for side in means)
    ]
    return Evidence(holds, max(fails))


def _best_side(name: str, rows: pd.DataFrame, means: Mapping[str, Estimate]) -> Comparison:
    """Return the comparison that a larger study of a method could decide."""
    side = max(means, key=lambda side: means[side].value)
    runs = by_seed(rows[rows["side"] == side].groupby("run")["found"].first(), rows)
    return Comparison(
        what=f"directions that {name} {side}",
        estimate=means[side],
        low=MARGIN,
        effect=2 * MARGIN,
        n_seeds=len(runs),
        noun="run",
    )


def _mean_excess(rows: pd.DataFrame) -> Estimate:
    """Estimate the mean excess over runs, of one side."""
    excess = rows["found"].astype(float) - rows["found_random"].astype(float)
    return mean_over_runs(by_seed(excess.groupby(rows["run"]).first(), rows))


def _text(rows: pd.DataFrame, means: Mapping[str, Estimate]) -> str:
    shown = "; ".join(f"{side} {difference_text(mean)}" for side, mean in means.items())
    return f"{shown}; {counted_runs(rows['run'].nunique())}"


def _power(rows: pd.DataFrame) -> str:
    """Say in how many runs and sides the power is enough."""
    power = rows.groupby(["run", "side"])[f"power_at_{EFFECT}"].first().astype(float)
    return (
        f"Directions with a cosine of {EFFECT} to such words would be found with power {POWER} in "
        f"{(power >= POWER).sum()} of {len(power)} runs and sides"
    )
