"""The more parameters a method trains, the more accurate it is.

Rule: every parameter-efficient method and full fine-tuning, each by its configuration with the best
validation accuracy at its best learning rate. The effect is the slope of the test accuracies on the
logarithm of the number of trainable parameters, by least squares over the methods, as a contrast of
their scores over the same seeds and test examples. Supported if the slope is above one point for
ten times as many parameters, contradicted if below, each at one-sided 0.025. The margin is one
point and not two, because the methods' numbers differ by several powers of ten. At least five
methods whose numbers differ by a factor of 100 or more are needed. Methods whose best rate is at
the edge of its grid are not tuned, and don't count. The interval generalizes over seeds and test
examples, and not over methods: these ones have the slope.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from peftlens.claims import (
    ONE_SIDED,
    Judgment,
    all_hold,
    difference_text,
    family,
    outcome_of,
    seeds,
)
from peftlens.numerics.counts import counted
from peftlens.results.best_rates import edge_text, untuned
from peftlens.results.comparisons import Comparison
from peftlens.results.contrasts import contrast
from peftlens.results.sweep import BestConfiguration, best_configurations

CLAIM = "The more parameters a method trains, the more accurate it is."
SOURCE = "common teaching; He et al. 2022, arXiv:2110.04366, compare methods by their parameters"
NEEDS = ("task_items", "parameter_count", "cost", "configurations")
TO_MEASURE = (
    "train full and four other methods or more, whose trainable parameters differ by a factor of "
    "100 or more, over the same seeds, each at four learning rates or more"
)
CRITERION = "ten times as many parameters bring over one point"
PRACTICE = {
    "supported": "Where accuracy counts, train more parameters.",
    "contradicted": (
        "Don't choose a method by its parameters: ten times as many bring less than a point."
    ),
}
ANALYSIS = "comparison"
MARGIN = 0.01  # of accuracy, for ten times as many parameters
LEAST = 5  # methods
RANGE = 100  # most over fewest trainable parameters


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> Judgment:
    """Judge by the slope over the methods' tuned configurations."""
    chosen = _methods(best_configurations(tables))
    if not _covers(chosen):
        return Judgment(
            "not measured",
            "Five methods whose trainable parameters differ by a factor of 100 must be trained.",
        )
    rates = {one.name: float(one.row["learning_rate"]) for one in chosen}
    loose = untuned(rates, tables)
    tuned = [one for one in chosen if one.name not in loose]
    text = edge_text(one.name for one in chosen if one.name in loose)
    if not _covers(tuned):
        return Judgment("insufficient evidence", f"Too few of the methods are tuned.{text}")
    weights = slope_weights([one.size for one in tuned])
    slope = contrast(
        {one.name: one.right for one in tuned},
        dict(zip((one.name for one in tuned), weights, strict=True)),
    )
    if slope is None:
        return Judgment(
            "not measured", "All methods must be trained with the same two seeds or more."
        )
    ordered = sorted(tuned, key=lambda one: one.size)
    each = "; ".join(f"{one.name} {one.size:,}: {one.row['accuracy']:.3f}" for one in ordered)
    n_seeds, n_items = tuned[0].right.shape
    sentence = (
        f"Of {len(tuned)} methods, ten times as many parameters have {difference_text(slope)} "
        f"({seeds(n_seeds)}, {counted(n_items, 'example')}): {each}.{text}"
    )
    one = Comparison(
        what="slope over ten times as many parameters",
        estimate=slope,
        low=MARGIN,
        effect=2 * MARGIN,
        n_seeds=n_seeds,
        n_items=n_items,
        configurations=tuple(one.name for one in tuned),
    )
    return Judgment(outcome_of(all_hold([one], alpha)), sentence, (one,))


def slope_weights(sizes: list[int]) -> list[float]:
    """Return the weights that make a sum of scores the least-squares slope on log10 of the sizes.

    Args:
        sizes: numbers of trainable parameters, not all equal, shape (n,).
    """
    logs = np.log10(np.asarray(sizes, float))
    centered = logs - logs.mean()
    return (centered / np.square(centered).sum()).tolist()


def _methods(best: list[BestConfiguration]) -> list[BestConfiguration]:
    """Return each method's best configuration on validation; full fine-tuning is the largest."""
    ordered = sorted(best, key=lambda one: one.validated)
    chosen = {one.row["method"]: one for one in ordered if one.size}
    return [
        one
        for method, one in chosen.items()
        if method == "full" or family(str(method)) not in (None, "baseline")
    ]


def _covers(methods: list[BestConfiguration]) -> bool:
    sizes = [one.size for one in methods]
    return len(methods) >= LEAST and max(sizes) >= RANGE * min(sizes)
