"""Ranks 4 to 32 are a good trade between parameters and accuracy.

Rule: the most accurate LoRA of rank 4 to 32 against every smaller and every larger rank, each at
its best rate, by the paired differences of accuracies with their 95 % intervals over seeds and
examples. Supported if every smaller rank falls short by more than a point and no larger one may
gain more than a point. Contradicted if a smaller rank is within a point for certain, or a larger
one gains more than a point for certain. Only LoRAs that are equal in all but rank and alpha are
compared: on the same layers, with the same training. There must be ranks below 4, from 4 to 32 and
above 32 among them; of several such groups the one with most ranks counts, and of several alphas of
a rank the one that is best on validation examples.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import Outcome, counted, difference_text, equal_but, hyperparameter, pair

CLAIM = "Ranks 4 to 32 are a good trade between parameters and accuracy."
SOURCE = "common teaching; Hu et al. 2021, arXiv:2106.09685, section 7.2, finds 1 to 8 enough"
NEEDS = ("rank_chart", "paired_accuracy", "configurations")
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
    rows = rows[rows["method"] == "lora"].sort_values("validation_accuracy", kind="stable")
    alike = rows["configuration"].map(equal_but(tables, "rank", "alpha"))
    groups = [own.drop_duplicates("rank", keep="last") for _, own in rows.groupby(alike)]
    whole = [own.sort_values("rank") for own in groups if _reaches_all(own["rank"])]
    if not whole:
        return "not measured", _lacking(rows, tables)
    rows = max(whole, key=len)
    best = rows[rows["rank"].between(LOW, HIGH)].sort_values("accuracy").iloc[-1]
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


def _reaches_all(ranks: pd.Series) -> bool:
    """Whether there are ranks below LOW, from LOW to HIGH, and above HIGH."""
    return bool(ranks.min() < LOW and ranks.max() > HIGH and ranks.between(LOW, HIGH).any())


def _lacking(rows: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> str:
    if not _reaches_all(rows["rank"]):
        return "LoRA must be trained with ranks below 4, from 4 to 32, and above."
    layers = rows["configuration"].map(hyperparameter(tables, "target_modules"))
    if layers.nunique() > 1:
        return (
            f"The ranks were trained on different layers ({'; '.join(layers.unique())}), "
            "and can not be compared."
        )
    return "The ranks differ in more than rank and alpha, and can not be compared."
