"""Adapters after attention and after the feed-forward layer differ in cost and accuracy.

Rule: bottleneck adapters after attention against those after the feed-forward layer, equal in all
else, each at its best learning rate. They differ in accuracy if the 95 % interval of the paired
difference excludes zero, and in cost if the time of a step differs by more than a tenth. Supported
if both differ, contradicted if the cost does not and the interval lies within one point of zero.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import Outcome, counted, difference_text, equal_but, hyperparameter, pair

CLAIM = "Adapters after attention and after the feed-forward layer differ in cost and accuracy."
SOURCE = "common teaching; Pfeiffer et al. 2021, arXiv:2005.00247"
NEEDS = ("rank_chart", "paired_accuracy", "configurations")
TO_MEASURE = (
    "train bottleneck adapters of one size with placement attention and with feed_forward, "
    "over the same seeds and several learning rates"
)
ANALYSIS = "placement"
MARGIN, SLOWER = 0.01, 0.1


def verdict(tables: Mapping[str, pd.DataFrame]) -> tuple[Outcome, str]:
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
        return "not measured", "Adapters of one size must be trained at both places."
    one, other = max(pairs, key=lambda both: rows.loc[both[0], "trainable_parameters"])
    difference = pair(tables["paired_accuracy"], one, other)
    if difference is None:
        return "not measured", "The two were not trained with the same seeds."
    low, high = float(difference.low or 0), float(difference.high or 0)
    ratio = float(rows.loc[one, "step_seconds"] / rows.loc[other, "step_seconds"])  # pyright: ignore
    sentence = (
        f"After attention adapters reach {rows.loc[one, 'accuracy']:.3f}, after the feed-forward "
        f"layer {rows.loc[other, 'accuracy']:.3f}: {difference_text(difference)}; with as "
        f"many parameters, a step takes {ratio:.2f} times as long ({counted(rows.loc[one])})."
    )
    costs_differ = abs(ratio - 1) > SLOWER
    if costs_differ and (low > 0 or high < 0):
        return "supported", sentence
    same = not costs_differ and low > -MARGIN and high < MARGIN
    return ("contradicted" if same else "insufficient evidence"), sentence
