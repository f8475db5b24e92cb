"""LoRA loses to full fine-tuning at large batches.

Rule: LoRA's accuracy minus full fine-tuning's at the largest batch, minus the same at the smallest:
an interaction, estimated from the scores over the same seeds and test examples. Supported if it is
below minus two points and LoRA is less accurate than full fine-tuning at the largest batch.
Contradicted if it is above minus two points, or LoRA is more accurate there (Bonferroni for the
two). Each at one-sided 0.025. The batch is the number of examples of an optimizer step, over all
its passes; the largest must be at least 8 times the smallest. At each batch, LoRA and full
fine-tuning agree in all hyperparameters that both have; the steps may differ between batches. Of
several LoRAs, the largest that was trained at both counts. Each configuration is at its best
learning rate; one whose best rate is at the edge of its grid is not tuned, and nothing is decided.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import ONE_SIDED, Outcome, counted, difference_text, equal_but
from peftlens.numerics.mixed_model import Estimate
from peftlens.results.best_rates import edge_text, untuned
from peftlens.results.comparable import alike, rows_per_step, sweep_values
from peftlens.results.contrasts import contrast
from peftlens.results.sweep import BestConfiguration, best_configurations

CLAIM = "LoRA loses to full fine-tuning at large batches."
SOURCE = "Schulman & Thinking Machines Lab 2025, LoRA Without Regret"
NEEDS = ("task_items", "parameter_count", "cost", "configurations")
TO_MEASURE = (
    "train lora and full with batches that differ by a factor of 8 or more, over the same seeds "
    "and several learning rates"
)
CRITERION = (
    "LoRA falls behind by over two points more with the largest batch than with the smallest"
)
PRACTICE = {
    "supported": "Train LoRA with small batches, or use full fine-tuning for large ones.",
    "contradicted": "A large batch is no reason against LoRA.",
}
ANALYSIS = "batch"
MARGIN = 0.02  # of accuracy
RANGE = 8  # largest batch over the smallest
Pair = tuple[str, str]  # names of LoRA and full fine-tuning
_VARYING = ("batch_size", "gradient_accumulation_steps", "max_steps")


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> tuple[Outcome, str]:
    """Judge by the change of LoRA's difference from full fine-tuning with the batch."""
    best = {one.name: one for one in best_configurations(tables)}
    groups = [one for one in _groups(tables, best) if max(one) >= RANGE * min(one)]
    if not groups:
        return "not measured", (
            "LoRA and full fine-tuning must both be trained with batches that differ by a factor "
            "of 8."
        )
    pairs = max(groups, key=lambda one: best[one[max(one)][0]].size)
    small, large = min(pairs), max(pairs)
    scores = {name: one.right for name, one in best.items()}
    before, after = (_gap(pairs[batch]) for batch in (small, large))
    change = contrast(scores, after | {name: -weight for name, weight in before.items()})
    gap, first = contrast(scores, after), contrast(scores, before)
    if change is None or gap is None or first is None:
        return "not measured", "All must be trained with the same two seeds or more."
    sentence = (
        f"{pairs[large][0]} less {pairs[large][1]}: {difference_text(first)} at batches of "
        f"{small:.0f}, {difference_text(gap)} at batches of {large:.0f}, a change of "
        f"{difference_text(change)} ({counted(best[pairs[large][0]].row)})."
    )
    names = [*pairs[small], *pairs[large]]
    rates = {name: float(best[name].row["learning_rate"]) for name in names}
    if loose := sorted(untuned(rates, tables)):
        return "insufficient evidence", sentence + edge_text(loose)
    return decide(change, gap, alpha), sentence


def decide(change: Estimate, gap: Estimate, alpha: float) -> Outcome:
    """Decide by the change with the batch, and by the difference at the largest batch.

    Args:
        change: LoRA's difference from full fine-tuning at the largest batch less that at the
            smallest.
        gap: the difference at the largest batch.
        alpha: one-sided level.
    """
    if max(change.p_below(-MARGIN), gap.p_below(0)) <= alpha:
        return "supported"
    if 2 * min(change.p_above(-MARGIN), gap.p_above(0)) <= alpha:
        return "contradicted"
    return "insufficient evidence"


def _groups(
    tables: Mapping[str, pd.DataFrame], best: Mapping[str, BestConfiguration]
) -> list[dict[float, Pair]]:
    """Return the pairs of each LoRA by their batch; of equal batches the best one on validation."""
    values, numbers = sweep_values(tables), equal_but(tables, *_VARYING)
    groups: dict[int, dict[float, Pair]] = {}
    methods = {name: one.row["method"] for name, one in best.items()}
    ordered = sorted(best, key=lambda name: best[name].validated)
    for lora in ordered:
        batch = rows_per_step(values[lora])
        for full in ordered:
            if (methods[lora], methods[full]) == ("lora", "full") and alike(
                values[lora], values[full]
            ):
                groups.setdefault(numbers[lora], {})[batch] = lora, full
    return [*groups.values()]


def _gap(pair: Pair) -> dict[str, float]:
    return {pair[0]: 1.0, pair[1]: -1.0}
