"""LoRA's best learning rate is about ten times that of full fine-tuning.

Rule: the best rate of each seed has the highest validation accuracy of its grid. The effect is the
mean over seeds of the logarithm of LoRA's best rate over full fine-tuning's, by Student's t with
the rounding of both grids in its variance. "About ten times" is an equivalence to one decade within
half a decade, 3.2 to 32 times: nearer to ten than to one or a hundred. The usual factor of 1.2 is
finer than any grid of rates. Supported if the 90 % interval of the ratio lies within these margins
(two one-sided tests at 5 %), contradicted if it is beyond one of them, at one-sided 0.025. The two
must agree in all hyperparameters that both have; of several LoRAs, the one with the best validation
accuracy counts. A best rate at the edge of its grid is a bound only: if that of any seed is,
nothing is decided. Limits: one model, task and number of steps; the seeds share the validation
examples.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import ONE_SIDED, Judgment, all_hold, outcome_of, seeds
from peftlens.results.best_rates import BestRates, best_rates, log_ratio
from peftlens.results.comparable import alike, sweep_values
from peftlens.results.comparisons import Comparison

CLAIM = "LoRA's best learning rate is about ten times that of full fine-tuning."
SOURCE = "Schulman & Thinking Machines Lab 2025, LoRA Without Regret"
NEEDS = ("cost", "configurations")
TO_MEASURE = (
    "train full and lora over the same five seeds or more, each at five learning rates or more "
    "over two decades"
)
CRITERION = "LoRA's best rate is 3.2 to 32 times that of full fine-tuning"
PRACTICE = {
    "supported": "Start LoRA at ten times the rate of full fine-tuning.",
    "contradicted": "Tune LoRA's rate by itself: ten times that of full fine-tuning is far off.",
}
ANALYSIS = "learning_rates"
CLAIMED = 1.0  # decades
MARGIN = 0.5  # decades


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> Judgment:
    """Judge by the ratio of the best rates, paired by seed."""
    found, values = best_rates(tables), sweep_values(tables)
    pairs = [
        (one, other)
        for one in found if values[one]["method"] == "lora"
        for other in found if values[other]["method"] == "full"
        and alike(values[one], values[other])
    ]  # fmt: skip
    if not pairs:
        return Judgment(
            "not measured",
            "LoRA and full fine-tuning must be trained alike, at three learning rates or more.",
        )
    lora, full = max(pairs, key=lambda names: [found[name].score for name in names])
    ratio = log_ratio(found[lora], found[full])
    if ratio is None or ratio.low is None or ratio.high is None:
        return Judgment("not measured", "The two share fewer than two seeds.")
    sentence = (
        f"The best rate of {lora} is {found[lora].typical:.2g}, of {full} {found[full].typical:.2g}"
        f": {10**ratio.value:.1f} times, {10**ratio.low:.1f} to {10**ratio.high:.1f} "
        f"({seeds(len(found[lora].logs))})."
    )
    if at_edge := [name for name in (lora, full) if found[name].at_edge.any()]:
        return Judgment("insufficient evidence", f"{sentence} {_edges(found, at_edge)}")
    one = Comparison(
        what=f"best rate of {lora} over that of {full}",
        estimate=ratio,
        low=CLAIMED - MARGIN,
        high=CLAIMED + MARGIN,
        unit="decades",
        n_seeds=len(found[lora].logs),
    )
    # no plan: the rounding of the grids is in the variance, and more seeds do not lessen it
    return Judgment(outcome_of(all_hold([one], alpha)), sentence)


def _edges(found: Mapping[str, BestRates], names: list[str]) -> str:
    each = ", ".join(
        f"{name} in {found[name].at_edge.sum()} of {seeds(len(found[name].logs))}" for name in names
    )
    return f"At the edge of its grid, so that it is a bound only: {each}; widen the grid."
