"""Soft prompts do not coincide with any real token.

Rule: a vector coincides with a token if their cosine is at least 0.99. Supported if the 95 %
interval of the share of prompts in which most vectors, at the last step, coincide with no token
lies above one half, contradicted if below. The sentence also compares the vectors' distance to
their nearest token with the distances between tokens; it does not decide.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import Outcome, by_half, trained_prompts

CLAIM = "Soft prompts do not coincide with any real token."
SOURCE = "Bailey et al. 2023, Soft prompting might be a bug, not a feature"
NEEDS = ("soft_prompt_neighbors",)
TO_MEASURE = "train prompt_tuning with several seeds and initializations"
ANALYSIS = "soft_prompts"
COINCIDES = 0.99


def verdict(tables: Mapping[str, pd.DataFrame]) -> tuple[Outcome, str]:
    """Judge by the cosine of each vector to its nearest token."""
    rows = trained_prompts(tables["soft_prompt_neighbors"])
    rows = rows[(rows["metric"] == "cosine") & (rows["space"] == "embedding")]
    if rows.empty:
        return "not measured", "No prompt was trained."
    off = (rows["similarity"] < COINCIDES).groupby(rows["run"]).mean()
    outcome, sentence = by_half(off, "most vectors coincide with no token")
    return outcome, (
        f"{sentence} The median cosine to the nearest token is {rows['similarity'].median():.2f}; "
        f"{rows['off_vocabulary'].median():.0%} of the tokens have another token nearer than that."
    )
