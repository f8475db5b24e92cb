"""PEFT is less prone to catastrophic forgetting than full fine-tuning.

Rule: each parameter-efficient method is judged at the best fit of the task that it and full
fine-tuning both reach. Its increase of the loss on text there, minus that of full fine-tuning with
the same seeds and texts, has a p-value over seeds and texts (`forgetting_at_matched_fit`), adjusted
for the number of methods (Holm). At 0.05 and below a method forgets less, or more. Supported if at
least one method forgets less and none more, contradicted if at least one forgets more and none
less; with both or neither, or with one seed, the evidence is insufficient. Methods within ±0.05
nats per token of full fine-tuning are counted. Training the head or the last blocks alone is a
control, not a method: shown, it decides nothing. Runs with `training.keep` don't count.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from peftlens import registry
from peftlens.claims import ONE_SIDED, Judgment, Outcome, seeds
from peftlens.numerics.mixed_model import holm
from peftlens.results.comparisons import Comparison
from peftlens.results.estimate_columns import estimate_of

CLAIM = "PEFT is less prone to catastrophic forgetting than full fine-tuning."
SOURCE = "common teaching; Biderman et al. 2024, arXiv:2405.09673, for LoRA"
NEEDS = ("forgetting_at_matched_fit",)
TO_MEASURE = (
    "train full and other methods over several seeds and learning rates with "
    "checkpoint_steps, on one task"
)
CRITERION = (
    "at least one method, at an equal fit, forgets less than full fine-tuning, and none more"
)
PRACTICE = {
    "supported": "To keep what the model knew, use a method that is found to forget less.",
    "contradicted": "Don't choose PEFT to prevent forgetting: compare where both learned as much.",
}
ANALYSIS = "forgetting"
CONTROLS = ("head", "last_layers")
MARGIN = 0.05  # nats per token


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> Judgment:
    """Judge by the methods' adjusted p-values."""
    rows = tables["forgetting_at_matched_fit"].dropna(subset="diff_vs_full")
    if "diff_vs_full_p_value" not in rows:  # its intervals are over seeds alone
        return Judgment(
            "not measured", "The table has no p-values over seeds and texts; measure it again."
        )
    if "keep" in rows:
        rows = rows[rows["keep"].isna()]
    rows = rows[~rows["method"].isin(list(filter(_is_baseline, rows["method"].unique())))]
    fit = rows["level"].where(~_matched_by_loss(rows), -rows["level"])
    rows = rows[fit == fit.groupby([rows["suite"], rows["configuration"]]).transform("max")]
    methods = rows[~rows["method"].isin(CONTROLS)]
    if methods.empty:
        return Judgment(
            "not measured",
            "Full fine-tuning and another method were not both trained to the same fit of a task.",
        )
    outcome, less, more = "insufficient evidence", 0, 0
    if methods["n_seeds"].min() > 1:
        outcome, less, more = decide(
            methods["diff_vs_full"], methods["diff_vs_full_p_value"], alpha
        )
    controls = rows[rows["method"].isin(CONTROLS)]
    comparisons = tuple(map(_comparison, methods.to_dict("records")))
    return Judgment(outcome, _sentence(methods, controls, less, more), comparisons)


def decide(
    differences: ArrayLike, p_values: ArrayLike, alpha: float = ONE_SIDED
) -> tuple[Outcome, int, int]:
    """Decide by several methods' differences from full fine-tuning.

    Args:
        differences: increases of the loss minus that of full fine-tuning, shape (n,).
        p_values: two-sided, of no difference, shape (n,).
        alpha: one-sided joint level.

    Returns:
        The outcome, and the numbers of methods that forget less and more.
    """
    signs = np.sign(np.asarray(differences, float))[holm(p_values) <= 2 * alpha]
    less, more = int((signs < 0).sum()), int((signs > 0).sum())
    if bool(less) == bool(more):
        return "insufficient evidence", less, more
    return ("supported" if less else "contradicted"), less, more


def _is_baseline(method: str) -> bool:
    name = method.partition(":")[0]
    known = name in registry.names("methods")
    return known and registry.describe("methods", name).constants["FAMILY"] == "baseline"


def _matched_by_loss(rows: pd.DataFrame) -> pd.Series:
    accuracy = pd.Series("accuracy", index=rows.index)  # the only measure of older tables
    return rows.get("match", accuracy) == "loss"


def _comparison(row: Mapping[Any, Any]) -> Comparison:
    """Compare a method with full fine-tuning; it forgets less if the difference is below zero."""
    return Comparison(
        what=f"{row['configuration']} against full",
        estimate=estimate_of(row, "diff_vs_full", "diff_vs_full_"),
        high=0.0,
        effect=-MARGIN,
        unit="nats per token",
        n_seeds=int(row["n_seeds"]),
        n_items=int(row["n_items"]),
        configurations=(str(row["configuration"]), "full"),
    )


def _sentence(methods: pd.DataFrame, controls: pd.DataFrame, less: int, more: int) -> str:
    ends = methods[["diff_vs_full_ci_low", "diff_vs_full_ci_high"]].astype(float).abs()
    alike = int((ends.max(axis=1, skipna=False) < MARGIN).sum())
    over = f"{seeds(methods['n_seeds'].min())} and {methods['n_items'].min()} texts"
    text = (
        f"At equal fit {less} of {len(methods)} methods forgot less than full fine-tuning and "
        f"{more} more, by p-values over {over} with Holm's correction; {alike} within "
        f"±{MARGIN:g} nats per token of it: {'; '.join(map(_text, methods.to_dict('records')))}."
    )
    if len(controls):
        shown = "; ".join(map(_text, controls.to_dict("records")))
        text += f" Controls, which don't count: {shown}."
    return text


def _text(row: dict) -> str:
    level = row["level"]
    by_loss = row.get("match") == "loss"
    fit = f"a loss of {level:.2f}" if by_loss else f"{level:.0%}"
    number = f"{row['configuration']} at {fit} {row['diff_vs_full']:+z.2f}"
    if row["n_seeds"] < 2 or pd.isna(row["diff_vs_full_ci_low"]):
        return f"{number} nats per token (one seed)"
    return (
        f"{number} ({row['diff_vs_full_ci_low']:+z.2f} to {row['diff_vs_full_ci_high']:+z.2f}) "
        "nats per token"
    )
