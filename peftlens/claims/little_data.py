"""PEFT is more accurate than full fine-tuning with little training data.

Rule: the parameter-efficient method with the best validation accuracy against full fine-tuning, in
a study with at most 1,000 training examples, by the paired difference of test accuracies over seeds
and examples. Superiority by more than two points: supported if the difference is above two points,
contradicted if below, each at one-sided 0.025. The method and full fine-tuning agree in all
hyperparameters of the training. Baselines, which train nothing or all, and the head alone are no
parameter-efficient methods here. If the best learning rate of either is at the edge of its grid, or
it had fewer than three, nothing is decided. The amount is the number of different examples that a
run reads: batch times steps, at most all there are. With more than one amount, the least decides.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import (
    ONE_SIDED,
    Judgment,
    all_hold,
    counted,
    difference_text,
    family,
    outcome_of,
    paired,
    power_text,
)
from peftlens.results.best_rates import edge_text, untuned_in_chart
from peftlens.results.comparable import alike, charted, sweep_values, training_examples

CLAIM = "PEFT is more accurate than full fine-tuning with little training data."
SOURCE = "He et al. 2021, arXiv:2106.03164; Liu et al. 2022, arXiv:2205.05638"
NEEDS = ("rank_chart", "paired_accuracy", "configurations")
TO_MEASURE = (
    "train full and other methods on at most 1,000 examples (split.max_train), over the same "
    "seeds, each at four learning rates or more"
)
CRITERION = "the best parameter-efficient method is over two points ahead"
PRACTICE = {
    "supported": "With this little data, use PEFT.",
    "contradicted": "With little data, too, choose PEFT for its size or memory, not for accuracy.",
}
ANALYSIS = "little_data"
MARGIN = 0.02  # of accuracy
LITTLE = 1000  # training examples


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> Judgment:
    """Judge by the best method and full fine-tuning on the least data."""
    rows, values = charted(tables), sweep_values(tables)
    amounts = {name: training_examples(values[name]) for name in rows}
    pairs = [
        (one, full)
        for full in rows if rows[full]["method"] == "full" and amounts[full] <= LITTLE
        for one in rows if _is_peft(rows[one]["method"]) and alike(values[one], values[full])
    ]  # fmt: skip
    if not pairs:
        return Judgment(
            "not measured",
            "Full fine-tuning and another method must be trained alike on at most 1,000 examples.",
        )
    one, full = max(pairs, key=lambda two: (-amounts[two[1]], rows[two[0]]["validation_accuracy"]))
    gap = paired(tables["paired_accuracy"], one, full, low=MARGIN, effect=2 * MARGIN)
    if gap is None:
        return Judgment("not measured", "The two were not trained with the same seeds.")
    sentence = (
        f"With {amounts[full]:.0f} training examples, {one} reaches "
        f"{rows[one]['accuracy']:.3f}, {full} {rows[full]['accuracy']:.3f}: "
        f"{difference_text(gap.estimate)} ({counted(rows[one])}; {power_text([gap.estimate])})."
    )
    if loose := untuned_in_chart(tables, (one, full)):
        return Judgment("insufficient evidence", sentence + edge_text(loose))
    return Judgment(outcome_of(all_hold([gap], alpha)), sentence, (gap,))


def _is_peft(method: str) -> bool:
    return method != "head" and family(method) not in (None, "baseline")
