"""Ranks 4 to 32 are a good trade between parameters and accuracy.

Rule: the most accurate LoRA of rank 4 to 32 against every smaller and every larger rank, each at
its best rate, by the paired differences of accuracies with their 95 % intervals over seeds and
examples. Supported if every smaller rank falls short by more than a point and no larger one may
gain more than a point. Contradicted if a smaller rank is within a point for certain, or a larger
one gains more than a point for certain. Ranks below 4 and above 32 must have been trained, on the
same layers.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import Outcome, counted, difference_text, option, pair

CLAIM = "Ranks 4 to 32 are a good trade between parameters and accuracy."
SOURCE = "common teaching; Hu et al. 2021, arXiv:2106.09685, section 7.2, finds 1 to 8 enough"
NEEDS = ("rank_chart", "paired_accuracy")
TO_MEASURE = (
    "train lora with ranks below 4, from 4 to 32 and above 32, over the same seeds and "
    "several learning rates"
)
ANALYSIS = "rank"
LOW, HIGH = 4, 32
MARGIN = 0.01


def verdict(tables: Mapping[str, pd.DataFrame]) -> tuple[Outcome, str]:
    """Judge by what is lost below, and gained above."""
    rows = tables["rank_chart"]
    rows = rows[(rows["method"] == "lora") & rows["rank"].notna()].sort_values("rank")
    layers = rows["configuration"].map(lambda one: option(str(one), "target_modules"))
    rows = rows[layers.isna()] if layers.isna().any() else rows
    meant = rows[rows["rank"].between(LOW, HIGH)].sort_values("accuracy")
    if meant.empty or rows["rank"].min() >= LOW or rows["rank"].max() <= HIGH:
        return "not measured", "LoRA must be trained with ranks below 4, from 4 to 32, and above."
    best = meant.iloc[-1]
    others = rows[~rows["rank"].between(LOW, HIGH)].to_dict("records")
    pairs = [
        pair(tables["paired_accuracy"], one["configuration"], best["configuration"])
        for one in others
    ]
    gaps = {one["rank"]: gap for one, gap in zip(others, pairs, strict=True) if gap is not None}
    if len(gaps) < len(others):
        return "not measured", "All ranks must be trained with the same seeds."
    sentence = (
        f"Rank {best['rank']:.0f} is the most accurate of 4 to 32 ({best['accuracy']:.3f}, "
        f"{counted(best)}); against it "
    ) + "; ".join(f"rank {rank:.0f} has {difference_text(*gap)}" for rank, gap in gaps.items())
    below = [gap for rank, gap in gaps.items() if rank < LOW]
    above = [gap for rank, gap in gaps.items() if rank > HIGH]
    if any(low > -MARGIN for _, low, _ in below) or any(low > MARGIN for _, low, _ in above):
        return "contradicted", f"{sentence}."
    decided = all(high < -MARGIN for *_, high in below) and all(high < MARGIN for *_, high in above)
    return ("supported" if decided else "insufficient evidence"), f"{sentence}."
