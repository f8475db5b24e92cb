"""LoRA's best learning rate does not depend on the rank.

Rule: the best rate of each seed has the highest validation accuracy of its grid. The effects are,
for every rank, the mean over seeds of the logarithm of its best rate over that of the lowest rank,
by Student's t with the rounding of both grids in its variance. "Does not depend" is an equivalence
within half a decade, a factor of 3.2: one step of the usual grids, while the ranks must differ by a
factor of 8 or more. The usual factor of 1.2 is finer than any grid of rates. Supported if all ranks
are within the margin (two one-sided tests at 5 %), contradicted if one is beyond it, at one-sided
0.025 after Holm's correction. The ranks must agree in all else, alpha included: the claim is about
the scale alpha / rank. Of several such groups the one with the most ranks decides. A best rate at
the edge of its grid is a bound only: ranks with such a seed don't count, and the claim is not
supported without them. Limits: the seeds share the validation examples.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import ONE_SIDED, Judgment, all_hold, equal_but, outcome_of, seeds
from peftlens.numerics.mixed_model import Estimate
from peftlens.results.best_rates import BestRates, best_rates, log_ratio
from peftlens.results.comparable import sweep_values
from peftlens.results.comparisons import Comparison

CLAIM = "LoRA's best learning rate does not depend on the rank."
SOURCE = "Schulman & Thinking Machines Lab 2025, LoRA Without Regret"
NEEDS = ("cost", "configurations")
TO_MEASURE = (
    "train lora with one alpha and ranks that differ by a factor of 8 or more, over the same five "
    "seeds or more, each at five learning rates or more over two decades"
)
CRITERION = "every rank's best rate is within a factor of 3.2 of the lowest rank's"
PRACTICE = {
    "supported": "Tune the learning rate at one rank, and keep it and alpha for the others.",
    "contradicted": "Tune the learning rate again for another rank.",
}
ANALYSIS = "learning_rates"
MARGIN = 0.5  # decades
RANGE = 8  # highest rank over the lowest


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> Judgment:
    """Judge by the ratios of the ranks' best rates to that of the lowest rank."""
    groups = [one for one in _groups(tables) if max(one) >= RANGE * min(one)]
    if not groups:
        return Judgment(
            "not measured",
            "LoRA must be trained alike with ranks that differ by a factor of 8, at three learning "
            "rates or more.",
        )
    ranks = max(groups, key=len)
    edges = [rank for rank, one in ranks.items() if one.at_edge.any()]
    inside = {rank: one for rank, one in ranks.items() if rank not in edges}
    ratios = _ratios(inside)
    each = "; ".join(f"rank {rank} {one.typical:.2g}" for rank, one in ranks.items())
    sentence = f"Best rates: {each} ({seeds(min(len(one.logs) for one in ranks.values()))})."
    if edges:
        sentence += (
            " At the edge of the grid in some seeds, so that it is a bound only: rank "
            f"{', '.join(map(str, edges))}; widen the grid."
        )
    if len(ratios) < len(inside) - 1:
        return Judgment("not measured", "All ranks must be trained with the same seeds.")
    if not ratios:
        return Judgment("insufficient evidence", sentence)
    shown = "; ".join(f"rank {rank} {_times(ratio)}" for rank, ratio in ratios.items())
    sentence += f" Against rank {min(inside)}: {shown}."
    found = [
        Comparison(
            what=f"best rate of rank {rank} over that of rank {min(inside)}",
            estimate=ratio,
            low=-MARGIN,
            high=MARGIN,
            unit="decades",
            n_seeds=len(inside[rank].logs),
        )
        for rank, ratio in ratios.items()
    ]
    holds = all_hold(found, alpha)
    # no plan: the rounding of the grids is in the variance, and more seeds do not lessen it
    return Judgment(outcome_of(None if holds and edges else holds), sentence)


def _groups(tables: Mapping[str, pd.DataFrame]) -> list[dict[int, BestRates]]:
    """Return the best rates of LoRAs that differ in the rank only, by rank."""
    found, values, numbers = best_rates(tables), sweep_values(tables), equal_but(tables, "rank")
    groups: dict[int, dict[int, BestRates]] = {}
    loras = [name for name in found if values[name]["method"] == "lora"]
    for name in sorted(loras, key=lambda name: values[name]["rank"]):
        groups.setdefault(numbers[name], {})[int(values[name]["rank"])] = found[name]
    return [*groups.values()]


def _ratios(ranks: Mapping[int, BestRates]) -> dict[int, Estimate]:
    """Return the logarithms of the best rates over that of the lowest rank, by rank."""
    lowest = min(ranks, default=0)
    found = {rank: log_ratio(one, ranks[lowest]) for rank, one in ranks.items() if rank != lowest}
    return {rank: ratio for rank, ratio in found.items() if ratio is not None}


def _times(ratio: Estimate) -> str:
    low, high = ratio.low or 0.0, ratio.high or 0.0
    return f"{10**ratio.value:.1f} times, {10**low:.1f} to {10**high:.1f}"
