"""Soft prompts lie farther from all tokens than by chance, and no tokens have their effect.

Any continuous vector is at some distance from all tokens, so that a distance alone says nothing.
Rule: the cosine of a vector to its nearest token, at the last step, against that after random steps
from the vector's start as long as the training's; for a prompt that starts at random, this is a
random vector. A configuration's prompts are off the vocabulary if their vectors' cosine is lower
than after random steps by more than 0.05, and replacing all of them by their nearest tokens costs
more than 0.05 nats per token. They are not if either is less (Bonferroni for the two). Both are
means over prompts by Student's t, three or more; prompts of several tasks count apart, and the cost
has the variance over test examples too. Each at one-sided 0.025 after Holm's correction for the
number of configurations. Supported if this holds for every configuration, contradicted if it fails
for one. Prompts with an unknown start don't count, nor do prefixes and retrained embeddings.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from peftlens.claims import ONE_SIDED, Outcome, trained_prompts
from peftlens.numerics.mixed_model import LEVEL, Estimate
from peftlens.results.run_evidence import (
    Evidence,
    by_seed,
    counted_runs,
    every_method,
    mean_over_runs,
)

CLAIM = "Soft prompts lie farther from all tokens than by chance, and no tokens have their effect."
SOURCE = "Bailey et al. 2023, Soft prompting might be a bug, not a feature"
NEEDS = ("soft_prompt_neighbors", "soft_prompt_faithfulness")
TO_MEASURE = (
    "train prompt_tuning from tokens and at random with three seeds or more, and measure "
    "soft_prompt_neighbors and soft_prompt_faithfulness"
)
CRITERION = (
    "for every configuration the mean cosine to the nearest token is over 0.05 lower than "
    "after random steps, and the nearest tokens cost over 0.05 nats per token; it fails if "
    "either is less for one"
)
PRACTICE = {
    "supported": "Don't replace a prompt by its nearest tokens.",
    "contradicted": (
        "Ignore how far a prompt is from tokens; test its nearest tokens before using them instead."
    ),
}
ANALYSIS = "soft_prompts"
DISTANCE = 0.05  # cosine
MARGIN = 0.05  # nats per token
_NORMAL = 3.92  # width of a 95 % interval in standard errors


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> tuple[Outcome, str]:
    """Judge by the cosine of each vector to its nearest token, and by the loss at these tokens."""
    near = tables["soft_prompt_neighbors"]
    near = near[(near["metric"] == "cosine") & (near["space"] == "embedding")]
    if "kind" in near:
        near = near[near["kind"] == "soft prompt"]
    last = trained_prompts(near)
    if last.empty:
        return "not measured", "No prompt was trained."
    if "random_step_similarity" not in last:
        return "not measured", "The table has no random steps; measure it again."
    loss = tables["soft_prompt_faithfulness"]
    loss = loss[loss["prompt"] == "nearest tokens (cosine)"].set_index("run")
    rows = last[last["run"].isin(loss.index)].dropna(subset=["random_step_similarity"])
    if rows.empty:
        return (
            "not measured",
            "Of no prompt the start and the loss at its nearest tokens are known.",
        )
    evidence, texts = {}, {}
    for name, one in rows.groupby("configuration", sort=False):
        evidence[str(name)], texts[str(name)] = _prompts(one, loss)
    outcome, shown = every_method(evidence, texts, alpha=alpha)
    return outcome, (
        "Vectors are farther from every token than after random steps as long, and their nearest "
        f"tokens lack their effect: {shown}."
    )


def _prompts(rows: pd.DataFrame, loss: pd.DataFrame) -> tuple[Evidence, str]:
    """Test the prompts of one configuration, and show their numbers."""
    means = rows.groupby("run")[["similarity", "random_step_similarity"]].mean().astype(float)
    farther = means["random_step_similarity"] - means["similarity"]
    distance = mean_over_runs(by_seed(farther, rows))
    cost = _cost(loss.loc[means.index], rows)
    fails = 2 * min(distance.p_below(DISTANCE), cost.p_below(MARGIN))
    holds = max(distance.p_above(DISTANCE), cost.p_above(MARGIN))
    now, random = means["similarity"].mean(), means["random_step_similarity"].mean()
    word, gap = ("lower", distance) if distance.value >= 0 else ("higher", -distance)
    return Evidence(holds, min(1.0, fails)), (
        f"cosine to the nearest token {now:z.2f}, after random steps {random:z.2f}: {word} by "
        f"{_interval(gap)}; the tokens cost {_interval(cost)} nats per token; "
        f"{counted_runs(len(means))}"
    )


def _cost(loss: pd.DataFrame, rows: pd.DataFrame) -> Estimate:
    """Estimate the loss at the nearest tokens less that of the prompts, over prompts and examples.

    The prompts are scored on the same examples, so that their mean has the variance over examples
    of one of them.
    """
    mean = mean_over_runs(by_seed(loss["gap"].astype(float), rows))
    if mean.standard_error is None:
        return mean
    widths = (loss["gap_ci_high"] - loss["gap_ci_low"]).astype(float)
    over_examples = float(np.square(widths / _NORMAL).mean())
    error = float(np.sqrt(mean.standard_error**2 + over_examples))
    return replace(mean, standard_error=error).at_level(LEVEL)


def _interval(one: Estimate) -> str:
    if one.low is None or one.high is None:
        return f"{one.value:z.2f}"
    return f"{one.value:z.2f} ({one.low:z.2f} to {one.high:z.2f})"
