"""Adapters after attention and after the feed-forward layer differ in cost and accuracy.

Rule: bottleneck adapters after attention against those after the feed-forward layer, equal in all
else, each at its best learning rate. Accuracy, over seeds and test examples: it differs if the 95 %
interval of the paired difference excludes zero, and is the same if the interval lies within two
points of it. Cost: FLOPs of a training step, which are exact, and its time over rounds on one
machine. It differs if at any measured number of tokens per step the FLOPs' ratio or the interval of
the times' lies beyond 1.2, and is the same if at all of them both lie within. Supported if cost and
accuracy both differ, contradicted if either is the same: equality is tested at 2.5 % and not at the
usual 5 %, because one of two suffices (Bonferroni). Times do not count where the A/A control is
disturbed.
"""

from collections.abc import Mapping
from typing import Literal

import pandas as pd

from peftlens.claims import (
    ONE_SIDED,
    Judgment,
    counted,
    difference_text,
    equal_but,
    hyperparameter,
    outcome_of,
    paired,
)
from peftlens.results.comparisons import Comparison
from peftlens.results.cost_ratio import MARGIN as COST_MARGIN
from peftlens.results.cost_ratio import Point, points, simultaneous

CLAIM = "Adapters after attention and after the feed-forward layer differ in cost and accuracy."
SOURCE = "common teaching; Pfeiffer et al. 2021, arXiv:2005.00247"
NEEDS = ("rank_chart", "paired_accuracy", "configurations", "training_cost")
TO_MEASURE = (
    "train bottleneck adapters of one size with placement attention and with feed_forward, "
    "over the same seeds and several learning rates, and measure the probe training_cost"
)
CRITERION = (
    "accuracies differ, by whatever amount, and costs by over a factor of 1.2 at some length"
)
PRACTICE = {
    "supported": "Weigh both places on your task: accuracy and cost each change with the place.",
    "contradicted": (
        "Decide by cost alone where accuracies are alike, by accuracy alone where costs are."
    ),
}
ANALYSIS = "adapter_site"
MARGIN = 0.02
TIME = "step_seconds"

Finding = Literal["different", "same", "open"]


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> Judgment:
    """Judge by the pair of equal size with the most parameters."""
    rows = tables["rank_chart"]
    rows = rows[rows["method"] == "bottleneck"].set_index("configuration")
    placement, group = hyperparameter(tables, "placement"), equal_but(tables, "placement")
    pairs = [
        (one, other)
        for one in rows.index if placement[one] == "attention"
        for other in rows.index if placement[other] == "feed_forward" and group[one] == group[other]
    ]  # fmt: skip
    if not pairs:
        return Judgment("not measured", "Adapters of one size must be trained at both places.")
    one, other = max(pairs, key=lambda both: rows.loc[both[0], "trainable_parameters"])
    gap = paired(tables["paired_accuracy"], one, other, low=-MARGIN, high=MARGIN)
    if gap is None:
        return Judgment("not measured", "The two were not trained with the same seeds.")
    found = [p for p in points(tables["training_cost"]) if p.ratio(one, other, TIME)]
    if not found:
        return Judgment("not measured", "The costs of the two were not measured in two rounds.")
    costs = [_cost(point, one, other, simultaneous(len(found), alpha), alpha) for point in found]
    cost: Finding = "open"
    if "different" in costs:
        cost = "different"
    elif set(costs) == {"same"}:
        cost = "same"
    accuracy = _accuracy(gap, alpha)
    each = ", ".join(_described(point, one, other) for point in found)
    sentence = (
        f"After attention adapters reach {rows.loc[one, 'accuracy']:.3f}, after the feed-forward "
        f"layer {rows.loc[other, 'accuracy']:.3f}: {difference_text(gap.estimate)} "
        f"({counted(rows.loc[one])}). With as many parameters, a step takes {each} tokens."
    )
    holds = None
    if accuracy == cost == "different":
        holds = True
    elif "same" in (cost, accuracy):
        holds = False
    return Judgment(outcome_of(holds), sentence, (gap,))


def _accuracy(gap: Comparison, alpha: float) -> Finding:
    if min(gap.estimate.p_above(0), gap.estimate.p_below(0)) <= alpha:
        return "different"
    return "same" if gap.holds <= alpha / 2 else "open"


def _flops(point: Point, one: str, other: str) -> float:
    flops = point.exact["flops"].astype(float)
    return float(flops[one] / flops[other])


def _cost(point: Point, one: str, other: str, level: float, alpha: float) -> Finding:
    """Judge a point; `level` is that of an interval that shows a difference."""
    flops = _flops(point, one, other)
    if flops > COST_MARGIN or flops < 1 / COST_MARGIN:
        return "different"
    if point.disturbed(TIME):
        return "open"
    strict = point.ratio(one, other, TIME, level)
    if strict and strict.is_different:
        return "different"
    narrow = point.ratio(one, other, TIME, 1 - 2 * alpha)
    return "same" if narrow and narrow.is_equal else "open"


def _described(point: Point, one: str, other: str) -> str:
    flops, time = _flops(point, one, other), point.ratio(one, other, TIME)
    disturbed = ", on a disturbed machine," if point.disturbed(TIME) else ""
    return f"{flops:.3f} times the FLOPs and {time} times the time{disturbed} at {point.name}"
