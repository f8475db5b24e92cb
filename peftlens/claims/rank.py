"""Ranks 4 to 32 are a good trade between parameters and accuracy.

Rule: the LoRA of rank 4 to 32 with the best validation accuracy against every smaller and every
larger rank, each at its best learning rate, by the paired differences of test accuracies over seeds
and examples. Supported if every smaller rank is worse by more than a point and no larger rank is
better by a point: all of these tests must agree, each at one-sided 0.025. Contradicted if some
smaller rank is not worse by a point, or some larger rank better by more than a point, at 0.025
after Holm's correction for the number of ranks. The margin is one point and not two, because the
claim is about a trade: two points would make rank 1 enough in most studies. Only LoRAs equal in all
but rank and alpha are compared: on the same layers, with the same training. They must include ranks
below 4, from 4 to 32 and above 32. Of several such groups the one with the most ranks decides; of
several alphas for one rank, the one with the best validation accuracy.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import (
    ONE_SIDED,
    Judgment,
    counted,
    difference_text,
    equal_but,
    hyperparameter,
    outcome_of,
    paired_with,
    power_text,
)
from peftlens.results.comparisons import Margins, all_hold

CLAIM = "Ranks 4 to 32 are a good trade between parameters and accuracy."
SOURCE = "common teaching; Hu et al. 2021, arXiv:2106.09685, section 7.2, finds 1 to 8 enough"
NEEDS = ("rank_chart", "paired_accuracy", "configurations")
TO_MEASURE = (
    "train lora with ranks below 4, from 4 to 32 and above 32, over the same seeds and "
    "several learning rates"
)
CRITERION = (
    "every rank below 4 is over one point behind the best of 4 to 32, and no rank above 32 is "
    "a point ahead of it"
)
PRACTICE = {
    "supported": "Start with a rank between 4 and 32: lower ones lose over a point.",
    "contradicted": "Try other ranks: a lower one is within a point, or a higher one better.",
}
ANALYSIS = "rank"
LOW, HIGH = 4, 32
MARGIN = 0.01


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> Judgment:
    """Judge by the differences of smaller and larger ranks from the best rank of 4 to 32."""
    rows = tables["rank_chart"]
    rows = rows[rows["method"] == "lora"].sort_values("validation_accuracy", kind="stable")
    numbers = rows["configuration"].map(equal_but(tables, "rank", "alpha"))
    groups = [group.drop_duplicates("rank", keep="last") for _, group in rows.groupby(numbers)]
    complete = [group.sort_values("rank") for group in groups if _covers_ranges(group["rank"])]
    if not complete:
        return Judgment("not measured", _missing_runs(rows, tables))
    rows = max(complete, key=len)
    best = (
        rows[rows["rank"].between(LOW, HIGH)]
        .sort_values("validation_accuracy", kind="stable")
        .iloc[-1]
    )
    others = rows[~rows["rank"].between(LOW, HIGH)]
    gaps = paired_with(tables["paired_accuracy"], best, others, "rank", _margins)
    if len(gaps) < len(others):
        return Judgment("not measured", "All ranks must be trained with the same seeds.")
    sentence = (
        f"Of ranks 4 to 32, {best['rank']:.0f} has the best validation accuracy (on the test "
        f"{best['accuracy']:.3f}, {counted(best)}); against it "
    ) + "; ".join(f"rank {rank} has {difference_text(gap.estimate)}" for rank, gap in gaps.items())
    comparisons = tuple(gaps.values())
    sentence = f"{sentence} ({power_text(one.estimate for one in comparisons)})."
    return Judgment(outcome_of(all_hold(comparisons, alpha)), sentence, comparisons)


def _margins(rank: int) -> Margins:
    """Smaller ranks must be worse by more than the margin, larger ones not better by it."""
    return {"high": -MARGIN, "effect": -2 * MARGIN} if rank < LOW else {"high": MARGIN}


def _covers_ranges(ranks: pd.Series) -> bool:
    """Return whether ranks below LOW, from LOW to HIGH, and above HIGH are present."""
    return bool(ranks.min() < LOW and ranks.max() > HIGH and ranks.between(LOW, HIGH).any())


def _missing_runs(rows: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> str:
    if not _covers_ranges(rows["rank"]):
        return "LoRA must be trained with ranks below 4, from 4 to 32, and above."
    layers = rows["configuration"].map(hyperparameter(tables, "target_modules"))
    if layers.nunique() > 1:
        return (
            f"The ranks were trained on different layers ({'; '.join(layers.unique())}), "
            "and cannot be compared."
        )
    return "The ranks differ in more than rank and alpha, and cannot be compared."
