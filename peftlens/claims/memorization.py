"""LoRA memorizes less than full fine-tuning.

Rule: the AUC by which rows of the training are told from held-out rows, by the loss relative to the
base's, at the last step. For LoRA and for full fine-tuning each, the configuration with the lowest
validation loss, averaged over seeds; their difference is paired by seed. Its variance is that over
seeds (Student's t) and that of both AUCs over rows, which all seeds share; as if the two methods
did not err on the same rows, so that the interval is rather too wide. A method that learns less
memorizes less, so a difference counts only if it can't come from the fit: that LoRA's loss on
held-out rows exceeds that of full fine-tuning by less than 0.05 nats per token must be shown to
support the claim, and that it falls below it by less to contradict it. Supported if the interval of
LoRA's AUC minus full fine-tuning's lies below zero, contradicted if above. All at one-sided 0.025.
Limit: of the losses, only the noise of seeds is known.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.stats import norm

from peftlens.claims import ONE_SIDED, Judgment, seeds
from peftlens.numerics.mixed_model import LEVEL, Estimate
from peftlens.results.comparisons import Comparison
from peftlens.results.run_evidence import mean_over_runs
from peftlens.results.table import last_steps

CLAIM = "LoRA memorizes less than full fine-tuning."
SOURCE = "arXiv:2506.20856; arXiv:2507.18302"
NEEDS = ("memorization", "training_log")
TO_MEASURE = (
    "train lora and full over the same three seeds or more and several learning rates, for several "
    "epochs, and measure the probes memorization and training_log"
)
CRITERION = (
    "training rows are harder to tell from held-out ones after LoRA than after full "
    "fine-tuning, at a fit less than 0.05 nats worse"
)
PRACTICE = {
    "supported": "With data that must not leak, prefer LoRA, and test it all the same.",
    "contradicted": "Don't count on LoRA to protect training data.",
}
ANALYSIS = "memorization"
MARGIN = 0.05  # nats per token
EFFECT = 0.05  # AUC, which a study should find
METHODS = ("lora", "full")


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> Judgment:
    """Judge the two methods' best configurations."""
    rows = last_steps(tables["memorization"])
    rows = rows[(rows["score"] == "loss") & rows["calibrated"].astype(bool)]
    best = {name: _best(tables["training_log"], rows, name) for name in METHODS}
    if None in best.values():
        return Judgment("not measured", "LoRA and full fine-tuning must both be trained.")
    one, other = (rows[rows["configuration"] == best[name]].set_index("seed") for name in METHODS)
    common = one.index.intersection(other.index)
    if common.empty:
        return Judgment("not measured", "The two were not trained with the same seeds.")
    one, other = one.loc[common], other.loc[common]
    over_seeds = mean_over_runs((one["auc"] - other["auc"]).astype(float))
    difference = with_rows(over_seeds, _row_variance(one) + _row_variance(other))
    excess = mean_over_runs((one["held_out_loss"] - other["held_out_loss"]).astype(float))
    sentence = (
        f"{best['lora']} tells trained from held-out rows with an AUC of {one['auc'].mean():.3f}, "
        f"{best['full']} with {other['auc'].mean():.3f}: {difference.value:+z.3f}"
    )
    if difference.low is None or difference.high is None:
        return Judgment("insufficient evidence", f"{sentence} ({seeds(len(common))}).")
    n_rows = int(one["n_trained"].min())
    sentence += (
        f", {difference.low:+z.3f} to {difference.high:+z.3f} ({seeds(len(common))} and "
        f"{n_rows} trained rows), with a loss on held-out rows that differs by "
        f"{excess.value:+z.2f} nats per token."
    )
    lower, higher = difference.p_below(0) <= alpha, difference.p_above(0) <= alpha
    comparisons = _comparisons(
        difference, excess, (str(best["lora"]), str(best["full"])), len(common)
    )
    if lower and excess.p_below(MARGIN) <= alpha:
        return Judgment("supported", sentence, comparisons)
    if higher and excess.p_above(-MARGIN) <= alpha:
        return Judgment("contradicted", sentence, comparisons)
    if lower or higher:
        sentence += f" LoRA may only have learned {'less' if lower else 'more'}."
    return Judgment("insufficient evidence", sentence, comparisons)


def _row_variance(rows: pd.DataFrame) -> float:
    """Return the variance of a mean AUC over the rows, which all seeds share."""
    # the interval is cut at 0 and 1, never on both sides
    half = np.maximum(rows["auc"] - rows["ci_low"], rows["ci_high"] - rows["auc"]).astype(float)
    return float(np.square(half / norm.ppf((1 + LEVEL) / 2)).mean())


def with_rows(over_seeds: Estimate, variance: float) -> Estimate:
    """Add the variance over rows to that over seeds, whose degrees of freedom are few.

    Args:
        over_seeds: mean over seeds, with Student's t.
        variance: variance over the rows, which all seeds share.
    """
    error = over_seeds.standard_error
    if error is None or over_seeds.degrees_of_freedom is None:
        return over_seeds
    total = error**2 + variance
    freedom = (total / error**2) ** 2 * over_seeds.degrees_of_freedom if error else float("inf")
    return Estimate(
        over_seeds.value, degrees_of_freedom=freedom, standard_error=total**0.5
    ).at_level(LEVEL)


def _comparisons(
    auc: Estimate, loss: Estimate, names: tuple[str, str], n_seeds: int
) -> tuple[Comparison, ...]:
    """Return the comparisons of the AUC and of the loss on held-out rows."""
    about = {"n_seeds": n_seeds, "configurations": names}
    both = " against ".join(names)
    return (
        Comparison(what=f"AUC of {both}", estimate=auc, high=0.0, effect=-EFFECT, **about),
        Comparison(
            what=f"held-out loss of {both}",
            estimate=loss,
            high=MARGIN,
            unit="nats per token",
            **about,
        ),
    )


def _best(log: pd.DataFrame, rows: pd.DataFrame, method: str) -> str | None:
    """Return the measured configuration of a method with the lowest last validation loss."""
    own = log[log["configuration"].isin(rows["configuration"][rows["method"] == method])]
    losses = last_steps(own.dropna(subset=["validation_loss"]))
    if losses.empty:
        return None
    return str(losses.groupby("configuration")["validation_loss"].mean().astype(float).idxmin())
