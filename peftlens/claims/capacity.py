"""The rank that LoRA needs grows with the amount of training data.

Rule: a rank is enough if its accuracy is less than two points below that of the highest rank, by
their paired difference over seeds and test examples. Supported if some rank is enough with the
least data and not enough with the most, where it is more than two points below (both must hold;
Holm's correction over the ranks). Contradicted if the lowest rank is enough with the most data.
Each at one-sided 0.025. The amount is the number of different examples that a run reads: batch
times steps, at most all there are. The most must be at least 8 times the least, and the highest
rank 8 times the lowest. LoRAs agree in all but rank, alpha and steps; of several alphas the one
with the best validation accuracy counts, of several such groups the one with the most ranks. Each
is at its best learning rate; ranks whose best rate is at the edge of its grid don't count. More
steps also mean more training; within one pass over the data the two can't be told apart.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import (
    ONE_SIDED,
    Judgment,
    Outcome,
    counted,
    difference_text,
    equal_but,
)
from peftlens.numerics.mixed_model import Estimate, holm
from peftlens.results.best_rates import edge_text, untuned
from peftlens.results.comparable import sweep_values, training_examples
from peftlens.results.comparisons import Comparison, Margins
from peftlens.results.contrasts import contrast
from peftlens.results.sweep import BestConfiguration, best_configurations

CLAIM = "The rank that LoRA needs grows with the amount of training data."
SOURCE = "Schulman & Thinking Machines Lab 2025, LoRA Without Regret"
NEEDS = ("task_items", "parameter_count", "cost", "configurations")
TO_MEASURE = (
    "train lora with ranks that differ by a factor of 8 or more, each with numbers of steps that "
    "differ by a factor of 8 or more, over the same seeds and several learning rates"
)
CRITERION = (
    "a rank within two points of the highest with the least data is over two points behind "
    "with the most"
)
PRACTICE = {
    "supported": "Raise the rank with the amount of data.",
    "contradicted": "Keep the low rank, however much of these data you train on.",
}
ANALYSIS = "capacity"
MARGIN = 0.02  # of accuracy
RANGE = 8  # most over least, of ranks and of data
Chosen = dict[tuple[float, int], BestConfiguration]  # by number of examples and rank
Gaps = dict[int, tuple[Estimate, Estimate]]  # with the least and with the most data, by rank


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> Judgment:
    """Judge by the differences of lower ranks from the highest, with little and with much data."""
    groups = [one for one in map(_complete, _groups(tables)) if one]
    if not groups:
        return Judgment(
            "not measured",
            "LoRA must be trained with ranks and with numbers of examples that differ by a factor "
            "of 8, each rank with both.",
        )
    chosen = max(groups, key=len)
    ranks = sorted({rank for _, rank in chosen})
    least, most = sorted({amount for amount, _ in chosen})
    rates = {one.name: float(one.row["learning_rate"]) for one in chosen.values()}
    loose = untuned(rates, tables)
    edges = [r for r in ranks if {chosen[amount, r].name for amount in (least, most)} & loose]
    gaps = _gaps(chosen, ranks, least, most)
    if gaps is None:
        return Judgment(
            "not measured", "All ranks must be trained with the same two seeds or more."
        )
    each = "; ".join(f"rank {r} {difference_text(a)} and {difference_text(b)}" for r, (a, b) in
                     gaps.items())  # fmt: skip
    sentence = (
        f"Against rank {ranks[-1]}, with {least:.0f} and with {most:.0f} training examples: {each} "
        f"({counted(chosen[most, ranks[-1]].row)})."
    )
    sentence += edge_text(f"rank {rank}" for rank in edges)
    if ranks[-1] in edges:
        return Judgment("insufficient evidence", sentence)
    tuned = {rank: both for rank, both in gaps.items() if rank not in edges}
    found = _of_lowest(chosen, tuned.get(ranks[0]), ranks, (least, most))
    return Judgment(decide(tuned, ranks[0], alpha), sentence, found)


def _of_lowest(
    chosen: Chosen,
    gaps: tuple[Estimate, Estimate] | None,
    ranks: list[int],
    amounts: tuple[float, float],
) -> tuple[Comparison, ...]:
    """Return the comparisons by which a study is planned: those of the lowest rank decide alone."""
    if gaps is None:
        return ()
    n_seeds, n_items = chosen[amounts[1], ranks[-1]].right.shape
    margins = Margins(low=-MARGIN), Margins(high=-MARGIN, effect=-2 * MARGIN)
    return tuple(
        Comparison(
            what=f"rank {ranks[0]} against rank {ranks[-1]} with {amount:.0f} examples",
            estimate=gap,
            n_seeds=n_seeds,
            n_items=n_items,
            configurations=(chosen[amount, ranks[0]].name, chosen[amount, ranks[-1]].name),
            **margin,
        )
        for amount, gap, margin in zip(amounts, gaps, margins, strict=True)
    )


def decide(gaps: Gaps, lowest: int, alpha: float) -> Outcome:
    """Decide by the differences from the highest rank.

    Args:
        gaps: of each tuned rank, with the least and with the most data.
        lowest: the lowest rank, tuned or not.
        alpha: one-sided level.
    """
    grows = [max(a.p_above(-MARGIN), b.p_below(-MARGIN)) for a, b in gaps.values()]
    if grows and holm(grows).min() <= alpha:
        return "supported"
    if lowest in gaps and gaps[lowest][1].p_above(-MARGIN) <= alpha:
        return "contradicted"
    return "insufficient evidence"


def _groups(tables: Mapping[str, pd.DataFrame]) -> list[Chosen]:
    """Return the LoRAs that differ in rank, alpha and steps only; the best on validation last."""
    values, numbers = sweep_values(tables), equal_but(tables, "rank", "alpha", "max_steps")
    groups: dict[int, Chosen] = {}
    loras = [one for one in best_configurations(tables) if one.row["method"] == "lora"]
    for one in sorted(loras, key=lambda one: one.validated):
        amount = training_examples(values[one.name])
        groups.setdefault(numbers[one.name], {})[amount, int(values[one.name]["rank"])] = one
    return [*groups.values()]


def _complete(group: Chosen) -> Chosen | None:
    """Return the part of a group with the least and the most data; None if it is too small."""
    amounts = {amount for amount, _ in group}
    least, most = min(amounts), max(amounts)
    ranks = [rank for amount, rank in group if amount == least and (most, rank) in group]
    if not most >= RANGE * least or not ranks or max(ranks) < RANGE * min(ranks):
        return None
    return {(amount, rank): group[amount, rank] for amount in (least, most) for rank in ranks}


def _gaps(chosen: Chosen, ranks: list[int], least: float, most: float) -> Gaps | None:
    """Return the differences of the lower ranks from the highest; None if seeds are not shared."""
    scores = {one.name: one.right for one in chosen.values()}
    found: Gaps = {}
    for rank in ranks[:-1]:
        both = [
            contrast(scores, {chosen[n, rank].name: 1.0, chosen[n, ranks[-1]].name: -1.0})
            for n in (least, most)
        ]
        if both[0] is None or both[1] is None:
            return None
        found[rank] = both[0], both[1]
    return found
