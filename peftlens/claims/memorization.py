"""LoRA memorizes less than full fine-tuning.

Rule: the AUC by which rows of the training are told from held-out rows, by the loss relative to the
base's, at the last step. For LoRA and for full fine-tuning each, the configuration with the lowest
validation loss, averaged over seeds; their difference is paired by seed, with Student's t. A method
that learns less memorizes less, so a difference counts only if it can't come from the fit: LoRA's
mean loss on held-out rows may exceed that of full fine-tuning by 0.05 nats per token at most to
support the claim, and fall below it by as much to contradict it. Supported if the interval of
LoRA's AUC minus full fine-tuning's lies below zero, contradicted if above.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import ONE_SIDED, Outcome, mean_over_runs, seeds
from peftlens.results.table import last_steps

CLAIM = "LoRA memorizes less than full fine-tuning."
SOURCE = "arXiv:2506.20856; arXiv:2507.18302"
NEEDS = ("memorization", "training_log")
TO_MEASURE = (
    "train lora and full over the same three seeds or more and several learning rates, for several "
    "epochs, and measure the probes memorization and training_log"
)
ANALYSIS = "memorization"
MARGIN = 0.05  # nats per token
METHODS = ("lora", "full")


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> tuple[Outcome, str]:
    """Judge the two methods' best configurations."""
    rows = last_steps(tables["memorization"])
    rows = rows[(rows["score"] == "loss") & rows["calibrated"].astype(bool)]
    best = {name: _best(tables["training_log"], rows, name) for name in METHODS}
    if None in best.values():
        return "not measured", "LoRA and full fine-tuning must both be trained."
    one, other = (rows[rows["configuration"] == best[name]].set_index("seed") for name in METHODS)
    common = one.index.intersection(other.index)
    if common.empty:
        return "not measured", "The two were not trained with the same seeds."
    one, other = one.loc[common], other.loc[common]
    difference = mean_over_runs((one["auc"] - other["auc"]).astype(float))
    excess = float((one["held_out_loss"] - other["held_out_loss"]).mean())
    sentence = (
        f"{best['lora']} tells trained from held-out rows with an AUC of {one['auc'].mean():.3f}, "
        f"{best['full']} with {other['auc'].mean():.3f}: {difference.value:+z.3f}"
    )
    if difference.low is None or difference.high is None:
        return "insufficient evidence", f"{sentence} ({seeds(len(common))})."
    sentence += (
        f", {difference.low:+z.3f} to {difference.high:+z.3f} ({seeds(len(common))}), with a loss "
        f"on held-out rows that differs by {excess:+z.2f} nats per token."
    )
    lower, higher = difference.p_below(0) <= alpha, difference.p_above(0) <= alpha
    if lower and excess <= MARGIN:
        return "supported", sentence
    if higher and excess >= -MARGIN:
        return "contradicted", sentence
    if lower or higher:
        sentence += f" LoRA may only have learned {'less' if lower else 'more'}."
    return "insufficient evidence", sentence


def _best(log: pd.DataFrame, rows: pd.DataFrame, method: str) -> str | None:
    """Return the measured configuration of a method with the lowest last validation loss."""
    own = log[log["configuration"].isin(rows["configuration"][rows["method"] == method])]
    losses = last_steps(own.dropna(subset=["validation_loss"]))
    if losses.empty:
        return None
    return str(losses.groupby("configuration")["validation_loss"].mean().astype(float).idxmin())
