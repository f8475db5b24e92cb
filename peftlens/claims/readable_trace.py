"""Whatever the method, an adapter leaves a trace of its training on unrelated text.

Rule: a run leaves a readable trace if `activation_difference` finds words of the training text
among those that its change of the states raises on general text, in any layer, at q ≤ 0.01. The
population are runs, over seeds and tasks. Runs of several configurations of a method with one seed
count as one. A method's runs are compared with chance (binomial): one in twenty, or the share of
random updates of equal norm with such words if that is larger. Where they are not above it, even at
0.1, they are compared with the power: if fewer are found than would be if each had a cosine of 0.6
to words of the training text (a sum of draws with the runs' power, at most 0.8), the method does
not leave such a trace. Each at one-sided 0.025 after Holm's correction for the number of methods.
Supported if every method, of two or more, leaves a trace; contradicted if one does not. The
agreement of the raised words of two seeds is the most that any reading can find, and that of runs
of other methods, tasks or hyperparameters is what they have in common without it (rank-biased
overlap of the words on general text, layer by layer, in up to 200 pairs).
"""

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from peftlens.claims import ONE_SIDED, Judgment
from peftlens.numerics.rank_overlap import rank_biased_overlap
from peftlens.results.run_evidence import FoundRuns, by_seed, every_method

CLAIM = "Whatever the method, an adapter leaves a trace of its training on unrelated text."
SOURCE = "Minder et al. 2025, arXiv:2510.13900, abstract, for full fine-tuning and LoRA"
NEEDS = ("activation_difference",)
TO_MEASURE = (
    "train several methods over three seeds or more on two tasks, and measure the probe "
    "activation_difference"
)
CRITERION = (
    "for every method, more runs than by chance raise words of their training text on "
    "unrelated text"
)
PRACTICE = {
    "supported": "Treat an adapter as confidential as the text that it was trained on.",
    "contradicted": "The absence of a readable trace says nothing about the training text.",
}
ANALYSIS = "lens"
LEVEL = 0.01  # of q-values
CHANCE = 0.05
EFFECT = 0.6  # cosine to words of the training text
_PAIRS = 200


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> Judgment:
    """Judge by the number of each method's runs with a readable trace."""
    rows = tables["activation_difference"]
    rows = rows[rows["text"] == "general"].dropna(subset=["q"])
    if rows.empty:
        return Judgment("not measured", "No run with a known training text changes the states.")
    methods = {str(name): _found(one) for name, one in rows.groupby("method", sort=False)}
    evidence = {name: one.evidence() for name, one in methods.items()}
    outcome, shown = every_method(evidence, methods, least=2, alpha=alpha)
    sentence = (
        f"Words of the training text can be read on unrelated text: {shown}; the mean power is "
        f"that for one layer with a cosine of {EFFECT} to such words. {_random(rows)}"
    )
    return Judgment(outcome, f"{sentence} {_agreements(rows)}".rstrip())


def _found(rows: pd.DataFrame) -> FoundRuns:
    """Find the runs of one method with a trace, and the power of each."""
    runs = rows.groupby("run")
    random = runs["random_found"].first().astype(float).mean()  # NaN without random updates
    return FoundRuns(
        found=by_seed(runs["q"].min() <= LEVEL, rows) > 0.5,
        power=by_seed(runs[f"power_at_{EFFECT}"].first(), rows),
        chance=float(np.nanmax([CHANCE, random])),
    )


def _random(rows: pd.DataFrame) -> str:
    """Say in how many random updates words of the training were found."""
    runs = rows.drop_duplicates("run").dropna(subset=["random_found"])
    drawn = runs["random_updates"].astype(float)
    if not drawn.sum():
        return "No random updates to compare them with."
    found = (drawn * runs["random_found"].astype(float)).sum()
    return f"Of random updates of equal norm: {found:.0f} of {drawn.sum():.0f}."


def _agreements(rows: pd.DataFrame) -> str:
    """Say how far the raised words of two runs agree."""
    origin = rows.get("study", pd.Series("", index=rows.index))
    known = rows.assign(study=origin).dropna(subset=["words"])
    runs = [
        ((one["study"].iloc[0], one["configuration"].iloc[0]), _lists(one))
        for _, one in known.groupby("run", sort=False)
    ]
    pairs = [*combinations(runs, 2)]
    seeds = _agreement((a, b) for (one, a), (other, b) in pairs if one == other)
    others = _agreement((a, b) for (one, a), (other, b) in pairs if one != other)
    parts = (
        (seeds, "two seeds of a configuration"),
        (others, "runs of different configurations or tasks"),
    )
    shown = [f"{found:.2f} between {what}" for found, what in parts if found is not None]
    return f"Agreement of the raised words: {', '.join(shown)}." if shown else ""


def _lists(rows: pd.DataFrame) -> dict[int, list[str]]:
    """Return the raised words of each layer; a list of a CSV file is one text."""
    layers, words = rows["layer"].astype(int), rows["words"]
    return {
        layer: one.split() if isinstance(one, str) else [*one]
        for layer, one in zip(layers, words, strict=True)
    }


def _agreement(pairs: Iterable[tuple[dict[int, Any], dict[int, Any]]]) -> float | None:
    """Return the mean overlap of pairs of runs, over the layers of both; None without any."""
    every = [*pairs]
    if len(every) > _PAIRS:  # pairs grow with the square of the runs
        chosen = np.random.default_rng(0).choice(len(every), _PAIRS, replace=False)
        every = [every[at] for at in chosen]
    found = [
        np.mean([rank_biased_overlap(one[layer], other[layer]) for layer in layers])
        for one, other in every
        if (layers := one.keys() & other.keys())
    ]
    return float(np.mean(found)) if found else None
