"""Prompt tuning is less accurate than LoRA on small models.

Rule: the LoRA against the soft prompt of `prompt_tuning`, of several the one with the best
validation accuracy each, on a base of fewer than a billion parameters, by the paired difference of
test accuracies over seeds and examples. Superiority by more than two points: supported if LoRA's
accuracy minus the prompt's is above two points, contradicted if below, each at one-sided 0.025. If
the best learning rate of either is at the edge of its grid, or it had fewer than three, nothing is
decided. Prompts learn slowly, so both may have different numbers of steps; the sentence names them.
The sources compare prompts with full fine-tuning, which LoRA is to match.
"""

from collections.abc import Mapping
from typing import Any

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

CLAIM = "Prompt tuning is less accurate than LoRA on small models."
SOURCE = "Lester et al. 2021, arXiv:2104.08691, section 3; Liu et al. 2021, arXiv:2110.07602"
NEEDS = ("rank_chart", "paired_accuracy", "configurations", "base_parameters")
TO_MEASURE = (
    "train lora and prompt_tuning over the same seeds, each at four learning rates or more, on a "
    "base of fewer than a billion parameters, and measure the probe base_parameters"
)
CRITERION = "LoRA is over two points ahead"
PRACTICE = {
    "supported": "On models this small, use LoRA and not prompt tuning.",
    "contradicted": (
        "On a model this small, prompt tuning is an alternative to LoRA if you give it the steps."
    ),
}
ANALYSIS = "comparison"
MARGIN = 0.02  # of accuracy
SMALL = 1e9  # parameters of the base


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> Judgment:
    """Judge by the paired difference of the best LoRA and the best prompt."""
    size = float(tables["base_parameters"].drop_duplicates("part")["parameters"].sum())
    if size >= SMALL:
        return Judgment(
            "not measured",
            f"The base has {size / 1e9:.1f} billion parameters, and is not small.",
        )
    rows, values = charted(tables), sweep_values(tables)
    pairs = [
        (one, other)
        for one in rows if rows[one]["method"] == "lora"
        for other in rows if rows[other]["method"] == "prompt_tuning"
        and alike(values[one], values[other], {"max_steps"})
    ]  # fmt: skip
    if not pairs:
        return Judgment("not measured", "LoRA and prompt tuning must be trained alike.")
    one, other = max(pairs, key=lambda two: [rows[name]["validation_accuracy"] for name in two])
    gap = paired(tables["paired_accuracy"], one, other, low=MARGIN, effect=2 * MARGIN)
    if gap is None:
        return Judgment("not measured", "The two were not trained with the same seeds.")
    sentence = (
        f"On a base of {size / 1e6:.0f} million parameters, {one} reaches "
        f"{rows[one]['accuracy']:.3f}{_steps(values[one])}, {other} "
        f"{rows[other]['accuracy']:.3f}{_steps(values[other])}: {difference_text(gap.estimate)} "
        f"({counted(rows[one])}; {power_text([gap.estimate])})."
    )
    if loose := untuned_in_chart(tables, (one, other)):
        return Judgment("insufficient evidence", sentence + edge_text(loose))
    return Judgment(outcome_of(all_hold([gap], alpha)), sentence, (gap,))


def _steps(values: Mapping[str, Any]) -> str:
    steps = values.get("max_steps")
    return "" if steps is None or pd.isna(steps) else f" after {steps:.0f} steps"
