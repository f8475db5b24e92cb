"""Methods trade parameter efficiency against compute efficiency; selective ones are mixed.

Rule: every method is represented by its configuration with the best validation accuracy among those
that are not dominated. A configuration is dominated if another has fewer trainable parameters, no
more FLOPs per step, no higher peak of memory, and is not less accurate by two points (one-sided
0.025, after Holm's correction for the number of such pairs). Two methods conflict if the one with
fewer parameters needs over 1.2 times the FLOPs of a training step, or holds over 1.2 times the
bytes (weights, gradients, optimizer state); they agree if it needs less of one by as much, and no
more of the other. The estimand is the share of conflicts among the pairs that do either, over the
study's methods: FLOPs and bytes are exact, so it has no interval. Supported if conflicts are more
than half at every measured number of tokens per step, contradicted if less than half at every one.
At least three methods are needed. The accuracies of selective methods are reported, and do not
decide.
"""

from collections.abc import Mapping
from itertools import combinations

import pandas as pd

from peftlens.claims import ONE_SIDED, family, pair
from peftlens.numerics.mixed_model import holm
from peftlens.results.comparisons import Outcome
from peftlens.results.cost_ratio import MARGIN, Point, points

CLAIM = "Methods trade parameter efficiency against compute efficiency; selective ones are mixed."
SOURCE = "common teaching; Lialin et al. 2023, arXiv:2303.15647"
NEEDS = ("rank_chart", "paired_accuracy", "training_cost")
TO_MEASURE = (
    "train configurations of at least three methods, over the same seeds and several learning "
    "rates, and measure the probe training_cost"
)
CRITERION = (
    "the method with fewer parameters takes more FLOPs or bytes in over half of the pairs that "
    "differ in them by over 1.2 times, at all lengths"
)
PRACTICE = {
    "supported": "Compare methods by FLOPs and memory, not by their number of parameters.",
    "contradicted": "Where costs differ, fewer parameters mostly mean less compute or memory.",
}
ANALYSIS = "comparison"
ACCURACY_MARGIN = 0.02


def verdict(tables: Mapping[str, pd.DataFrame]) -> tuple[Outcome, str]:
    """Judge by pairs of methods."""
    rows = tables["rank_chart"].set_index("configuration")
    shares: list[float | None] = []
    texts: list[str] = []
    for point in points(tables["training_cost"]):
        costs = _costs(point, rows)
        dominated = _dominated(costs, tables["paired_accuracy"])
        left = costs.drop(index=[*dominated])
        best = left.sort_values("validation_accuracy", ascending=False).drop_duplicates("method")
        if costs["method"].nunique() < 3:
            continue
        conflicts, agreements = _conflicts(best)
        n = len(conflicts) + agreements
        shares.append(len(conflicts) / n if n else None)
        texts.append(_described(point, conflicts, n, dominated))
    if not shares:
        return "not measured", "The cost of three methods must be measured."
    sentence = " ".join(texts) + _selective(tables["rank_chart"])
    if all(share is not None and share > 0.5 for share in shares):
        return "supported", sentence
    contradicted = all(share is not None and share < 0.5 for share in shares)
    return ("contradicted" if contradicted else "insufficient evidence"), sentence


def _costs(point: Point, rows: pd.DataFrame) -> pd.DataFrame:
    """Return exact costs, peak memory and validation accuracy, by configuration."""
    own = point.costs[~point.costs["control"]]
    memory = own.groupby("configuration")["peak_memory_bytes"].median().astype(float)
    accuracy = rows["validation_accuracy"].astype(float)
    costs = point.exact.assign(memory=memory, validation_accuracy=accuracy)
    known = costs.index.isin(rows.index) & (costs["trainable_parameters"] > 0)
    return costs[known]


def _dominated(costs: pd.DataFrame, paired: pd.DataFrame) -> dict[str, str]:
    """Map each dominated configuration to the smallest one that dominates it."""
    ordered = costs.sort_values("trainable_parameters")
    cheaper = [
        (str(one), str(other))
        for (one, a), (other, b) in combinations(ordered.iterrows(), 2)
        if a["trainable_parameters"] < b["trainable_parameters"]
        and a["flops"] <= b["flops"]
        and not a["memory"] > b["memory"]  # may be missing
    ]
    gaps = [pair(paired, *names) for names in cheaper]
    shown = holm([1.0 if gap is None else gap.p_above(-ACCURACY_MARGIN) for gap in gaps])
    found: dict[str, str] = {}
    for (one, other), p in zip(cheaper, shown, strict=True):
        if p <= ONE_SIDED:
            found.setdefault(other, one)
    return found


def _conflicts(best: pd.DataFrame) -> tuple[list[tuple[str, str]], int]:
    """Return the pairs in conflict, the one with fewer parameters first; and count agreements."""
    conflicts, agreements = [], 0
    ordered = best.sort_values("trainable_parameters")
    for (one, a), (other, b) in combinations(ordered.iterrows(), 2):
        if a["trainable_parameters"] == b["trainable_parameters"]:
            continue
        ratios = [a[name] / b[name] for name in ("flops", "held_bytes")]
        if max(ratios) > MARGIN:
            conflicts.append((str(one), str(other)))
        elif min(ratios) < 1 / MARGIN:
            agreements += 1
    return conflicts, agreements


def _described(
    point: Point, conflicts: list[tuple[str, str]], n: int, dominated: Mapping[str, str]
) -> str:
    each = ", ".join(f"{one} against {other}" for one, other in conflicts[:3])
    more = f" ({each}{', ...' if len(conflicts) > 3 else ''})" if conflicts else ""
    worse = ", ".join(f"{one} by {other}" for one, other in dominated.items())
    return (
        f"At {point.name} tokens a step, fewer parameters take over {MARGIN} times the FLOPs or "
        f"bytes in {len(conflicts)} of {n} pairs of methods that differ so much{more}; "
        f"dominated: {worse or 'none'}."
    )


def _selective(rows: pd.DataFrame) -> str:
    selective = rows[[family(str(method)) == "selective" for method in rows["method"]]]
    if selective.empty:
        return ""
    places = rows["accuracy"].rank(ascending=False)[selective.index]
    each = (
        f"{row['configuration']} {row['accuracy']:.3f} (place {place:.0f})"
        for row, place in zip(selective.to_dict("records"), places, strict=True)
    )
    return f" Selective methods reach {', '.join(each)}."
