"""The gain of an adapter sits in few layers.

Rule: the smallest set of blocks that keeps 95 % of a run's gain, chosen by `layer_ablation` on
validation examples, against random sets of as many blocks, both scored on test examples. The
population are runs with a gain there that no random update of equal norm has, over seeds and tasks.
Runs of several configurations of a method with one seed count as one. A method's gain sits in few
layers if, in the mean over runs (Student's t over three runs or more), the set has less than a
third of the changed blocks, its share of the gain is more than a tenth above that of random sets,
and more than 0.9. It does not if the set has more than a third of them, or its share is less than a
tenth above that of random sets, which then do about as well (Bonferroni for the two). Both are
intervals on the other side and no absence of a finding: a gain that sat in few blocks would be lost
by random sets, which rarely hold all of them. Each at one-sided 0.025 after Holm's correction for
the number of methods. Supported if this holds for every method that changes six blocks or more;
contradicted if it fails for one. Limit: runs of a task share their test examples, whose noise is
not in the intervals.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from peftlens.claims import ONE_SIDED, Judgment
from peftlens.results.run_evidence import (
    Evidence,
    by_seed,
    counted_runs,
    every_method,
    mean_over_runs,
)

CLAIM = "The gain of an adapter sits in few layers."
SOURCE = "Shi et al. 2024, arXiv:2410.17875, abstract, for alignment"
NEEDS = ("layer_ablation",)
TO_MEASURE = (
    "train several methods that change the blocks over three seeds or more on two tasks, and "
    "measure the probe layer_ablation"
)
CRITERION = (
    "for every method, fewer than a third of the changed blocks keep over 90 % of the gain, "
    "and over a tenth of the gain more than as many random blocks"
)
PRACTICE = {
    "supported": "Look at a few layers to see what was learned, and try to adapt these alone.",
    "contradicted": (
        "Don't pick layers by their share of the gain: random ones keep nearly as much, or many "
        "are needed."
    ),
}
ANALYSIS = "lens"
FEW = 1 / 3  # of the changed blocks
ADVANTAGE = 0.1  # of the gain
KEPT = 0.9  # of the gain on test examples, of a set that keeps 95 % on validation examples
LEAST_BLOCKS = 6


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> Judgment:
    """Judge by the size of each method's smallest sets, and by random sets of the same size."""
    every = tables["layer_ablation"]
    runs = pd.DataFrame([_run(one) for _, one in every.groupby("run", sort=False)])
    if "study" in every:
        runs["study"] = runs["run"].map(every.drop_duplicates("run").set_index("run")["study"])
    gaining = runs[runs["gains"] & (runs["blocks"] >= LEAST_BLOCKS)].dropna()
    if gaining.empty:
        return Judgment(
            "not measured", "No run changes six blocks or more and has a gain on test examples."
        )
    evidence, texts = {}, {}
    for name, one in gaining.groupby("method", sort=False):
        evidence[str(name)], texts[str(name)] = _method(one)
    outcome, shown = every_method(evidence, texts, alpha=alpha)
    left = len(runs) - len(gaining)
    sentence = (
        "The smallest set of blocks that keeps 95 % of the gain is small, and better than random "
        f"sets of as many blocks: {shown}."
    ) + (
        f" {counted_runs(left)} without a gain or with fewer than six changed blocks not counted."
        if left
        else ""
    )
    return Judgment(outcome, sentence)


def _run(rows: pd.DataFrame) -> dict[str, Any]:
    """Return the size of a run's smallest set, and the shares of the gain of it and of others."""
    of = {active: one for active, one in rows.groupby("active")}
    whole, sets = of["all"].iloc[0], of.get("smallest set")
    random = of.get("random set", rows.iloc[:0])["gain_share"].astype(float).mean()
    blocks = _count(whole["blocks"])
    low = whole["ci_low"]
    updates = of.get("random update", rows.iloc[:0])["gain_share"].astype(float)
    kept = float("nan") if sets is None else float(sets["gain_share"].iloc[0])
    size = float("nan") if sets is None else _count(sets["blocks"].iloc[0]) / max(blocks, 1)
    return {
        "run": whole["run"],
        "seed": whole["seed"],
        "method": str(whole["method"]),
        "gains": bool(pd.notna(low) and low > 0 and not (updates >= 1).any()),
        "blocks": blocks,
        "size": size,
        "kept": kept,
        "advantage": kept - random,
    }


def _count(blocks: Any) -> int:
    """Count the blocks of a set; a list of a CSV file is one text, and one number stands alone."""
    return len(blocks) if isinstance(blocks, list | np.ndarray) else len(str(blocks).split())


def _method(runs: pd.DataFrame) -> tuple[Evidence, str]:
    """Test the mean size and advantage of one method's smallest sets, and show them."""
    values = runs.set_index("run")
    size, advantage, kept = (
        mean_over_runs(by_seed(values[name], runs)) for name in ("size", "advantage", "kept")
    )
    holds = max(size.p_below(FEW), advantage.p_above(ADVANTAGE), kept.p_above(KEPT))
    fails = min(1.0, 2 * min(size.p_above(FEW), advantage.p_below(ADVANTAGE)))
    return Evidence(holds, fails), (
        f"{size.value:.0%} of {runs['blocks'].mean():.0f} blocks with {kept.value:.0%} of the gain"
        f", random sets {kept.value - advantage.value:.0%}, {counted_runs(len(runs))}"
    )
