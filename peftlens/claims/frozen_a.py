"""LoRA's B can be trained alone.

Rule: LoRA-FA, whose A stays at its random start, against LoRA of the same rank, alpha, layers and
training, by the paired difference of test accuracies over seeds and examples. Non-inferiority with
a margin of two points: supported if LoRA-FA is less than two points less accurate, contradicted if
more; each at one-sided 0.025. Of several such pairs the one with the best validation accuracy of
LoRA counts. If the best learning rate of either is at the edge of its grid, or it had fewer than
three, nothing is decided. The memory that this saves is not judged here.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import (
    ONE_SIDED,
    Judgment,
    all_hold,
    counted,
    difference_text,
    outcome_of,
    paired,
    power_text,
)
from peftlens.results.best_rates import edge_text, untuned_in_chart
from peftlens.results.comparable import alike, charted, sweep_values

CLAIM = "LoRA's B can be trained alone."
SOURCE = "Zhang et al. 2023, arXiv:2308.03303; Zhu et al. 2024, arXiv:2402.16842"
NEEDS = ("rank_chart", "paired_accuracy", "configurations")
TO_MEASURE = (
    "train lora and lora_fa with one rank, over the same seeds, each at four learning rates or more"
)
CRITERION = "B alone is less than two points behind"
PRACTICE = {
    "supported": "Freeze A: it then needs no gradients and no optimizer state.",
    "contradicted": "Train A, too: B alone is less accurate.",
}
ANALYSIS = "variants"
MARGIN = 0.02  # of accuracy


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> Judgment:
    """Judge by the paired difference of LoRA-FA from LoRA."""
    rows, values = charted(tables), sweep_values(tables)
    pairs = [
        (one, other)
        for one in rows if rows[one]["method"] == "lora_fa"
        for other in rows if rows[other]["method"] == "lora"
        and alike(values[one], values[other])
    ]  # fmt: skip
    if not pairs:
        return Judgment("not measured", "LoRA-FA and LoRA of one rank must be trained alike.")
    one, other = max(pairs, key=lambda names: rows[names[1]]["validation_accuracy"])
    gap = paired(tables["paired_accuracy"], one, other, low=-MARGIN)
    if gap is None:
        return Judgment("not measured", "The two were not trained with the same seeds.")
    sentence = (
        f"With A frozen, {one} reaches {rows[one]['accuracy']:.3f}, {other} "
        f"{rows[other]['accuracy']:.3f}: {difference_text(gap.estimate)} "
        f"({counted(rows[one])}; {power_text([gap.estimate])})."
    )
    if loose := untuned_in_chart(tables, (one, other)):
        return Judgment("insufficient evidence", sentence + edge_text(loose))
    return Judgment(outcome_of(all_hold([gap], alpha)), sentence, (gap,))
