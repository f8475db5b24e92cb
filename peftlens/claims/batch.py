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

from peftlens.claims import (
    ONE_SIDED,
    Judgment,
    all_hold,
    counted,
    difference_text,
    equal_but,
    outcome_of,
)
from peftlens.numerics.mixed_model import Estimate
from peftlens.results.best_rates import edge_text, untuned
from peftlens.results.comparable import alike, rows_per_step, sweep_values
from peftlens.results.comparisons import Comparison
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
    "LoRA is behind full fine-tuning at the largest batch, by over two points more than at "
    "the smallest"
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


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> Judgment:
    """Judge by the change of LoRA's difference from full fine-tuning with the batch."""
    best = {one.name: one for one in best_configurations(tables)}
    groups = [one for one in _groups(tables, best) if max(one) >= RANGE * min(one)]
    if not groups:
        return Judgment(
            "not measured",
            "LoRA and full fine-tuning must both be trained with batches that differ by a factor "
            "of 8.",
        )
    pairs = max(groups, key=lambda one: best[one[max(one)][0]].size)
    small, large = min(pairs), max(pairs)
    scores = {name: one.right for name, one in best.items()}
    before, after = (_gap(pairs[batch]) for batch in (small, large))
    change = contrast(scores, after | {name: -weight for name, weight in before.items()})
    gap, first = contrast(scores, after), contrast(scores, before)
    if change is None or gap is None or first is None:
        return Judgment("not measured", "All must be trained with the same two seeds or more.")
    sentence = (
        f"{pairs[large][0]} minus {pairs[large][1]}: {difference_text(first)} at batches of "
        f"{small:.0f}, {difference_text(gap)} at batches of {large:.0f}, a change of "
        f"{difference_text(change)} ({counted(best[pairs[large][0]].row)})."
    )
    names = [*pairs[small], *pairs[large]]
    rates = {name: float(best[name].row["learning_rate"]) for name in names}
    if loose := sorted(untuned(rates, tables)):
        return Judgment("insufficient evidence", sentence + edge_text(loose))
    n_seeds, n_items = best[names[-1]].right.shape
    found = comparisons(change, gap, n_seeds, n_items, tuple(names))
    return Judgment(outcome_of(all_hold(found, alpha)), sentence, found)


def comparisons(
    change: Estimate, gap: Estimate, n_seeds: int, n_items: int, names: tuple[str, ...] = ()
) -> tuple[Comparison, Comparison]:
    """Return the two comparisons that must both hold.

    Args:
        change: LoRA's difference from full fine-tuning at the largest batch less that at the
            smallest.
        gap: the difference at the largest batch.
        n_seeds: number of seeds.
        n_items: number of test examples.
        names: names of the configurations.
    """
    return (
        Comparison(
            what="change of LoRA's difference with the batch",
            estimate=change,
            high=-MARGIN,
            effect=-2 * MARGIN,
            n_seeds=n_seeds,
            n_items=n_items,
            configurations=names,
        ),
        Comparison(
            what="LoRA's difference at the largest batch",
            estimate=gap,
            high=0.0,
            effect=-MARGIN,
            n_seeds=n_seeds,
            n_items=n_items,
            configurations=names,
        ),
    )


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
