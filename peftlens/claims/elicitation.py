"""A soft prompt makes the base say what its task is.

Rule: a prompt counts if `prompt_elicitation` finds that it raises the words that state its task, or
those typical of it, above other tasks' words, and more than random prompts do, at q ≤ 0.05 over
both kinds of words. The population are prompts, over seeds and tasks. Prompts of several
configurations of a method with one seed count as one. The prompts of a method are compared with
chance, one in twenty (binomial). Where they are not above it, even at 0.1, they are compared with
the power: if fewer are found than would be if a quarter of each prompt's vectors were words of the
task (a sum of draws with the prompts' power, the lower one of both kinds of words and at most 0.8),
they do not say as much. Each at one-sided 0.025 after Holm's correction for the number of methods.
Supported if the prompts of every method say what their task is; contradicted if those of one do
not.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import ONE_SIDED, Judgment
from peftlens.results.run_evidence import FoundRuns, by_seed, every_method

CLAIM = "A soft prompt makes the base say what its task is."
SOURCE = "Ramati et al. 2024, arXiv:2410.11660, abstract"
NEEDS = ("prompt_elicitation",)
TO_MEASURE = (
    "train prompt_tuning over three seeds or more on two tasks, and measure the probe "
    "prompt_elicitation"
)
CRITERION = "for every method, more prompts than by chance raise words of their task"
PRACTICE = {
    "supported": "Let the base continue after the prompt: its words may hint at the task.",
    "contradicted": "Don't trust what the base says behind a prompt to be its task.",
}
ANALYSIS = "lens"
LEVEL = 0.05  # of q-values, and so the share found by chance
EFFECT = 0.25  # share of the vectors that are words of the task


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> Judgment:
    """Judge by the number of each method's prompts that say what their task is."""
    rows = tables["prompt_elicitation"]
    rows = rows[rows["own"].astype(bool)].dropna(subset=["q"])
    if rows.empty:
        return Judgment("not measured", "No prompt has a task whose words are known.")
    methods = {str(name): _found(one) for name, one in rows.groupby("method", sort=False)}
    outcome, shown = every_method(
        {name: one.evidence() for name, one in methods.items()}, methods, alpha=alpha
    )
    kinds = rows.assign(found=rows["q"].astype(float) <= LEVEL).groupby("words", sort=False)
    each = ", ".join(f"{one['found'].sum()} of {len(one)} by {kind} words" for kind, one in kinds)
    sentence = (
        f"The base says words of the task behind the prompt: {shown}; the mean power is that for "
        f"prompts in which {EFFECT:.0%} of the vectors are such words. Found: {each}."
    )
    return Judgment(outcome, sentence)


def _found(rows: pd.DataFrame) -> FoundRuns:
    """Find the prompts of one method that say what their task is, and the power for each."""
    runs = rows.groupby("run")
    return FoundRuns(
        found=by_seed(runs["q"].min() <= LEVEL, rows) > 0.5,
        power=by_seed(runs[f"power_at_{EFFECT}"].agg(lambda one: one.min(skipna=False)), rows),
        chance=LEVEL,
    )
