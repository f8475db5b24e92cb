"""A soft prompt's nearest vocabulary tokens form tight semantic clusters.

Rule: a vector counts if `soft_prompt_null` calls it readable by cosine: its nearest words are
closer together than those around random directions, in the embedding table and in the middle of the
model, because of training and not of the initialization. Supported if the 95 % interval of the
share of prompts with mostly readable vectors lies above one half, contradicted if below.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import Outcome, by_half, trained_prompts

CLAIM = "A soft prompt's nearest vocabulary tokens form tight semantic clusters."
SOURCE = "Lester et al. 2021, arXiv:2104.08691, section 7"
NEEDS = ("soft_prompt_null",)
TO_MEASURE = (
    "train prompt_tuning with several seeds and initializations, and keep a checkpoint at step 0"
)
ANALYSIS = "soft_prompts"


def verdict(tables: Mapping[str, pd.DataFrame]) -> tuple[Outcome, str]:
    """Judge by the share of readable vectors."""
    rows = trained_prompts(tables["soft_prompt_null"])
    rows = rows[(rows["metric"] == "cosine") & rows["position"].notna()]
    rows = rows[rows["verdict"] != "tight, start unknown"]
    if rows.empty:
        return "not measured", "No prompt with a known start was trained."
    readable = (rows["verdict"] == "readable").groupby(rows["run"]).mean()
    outcome, sentence = by_half(readable, "most vectors lie in tight clusters of new words")
    start = (rows["verdict"] == "unchanged from initialization").mean()
    noise = (rows["verdict"] == "not distinguishable from noise").mean()
    return outcome, (
        f"{sentence} Of all {len(rows)} vectors {start:.0%} are as their initialization left them "
        f"and {noise:.0%} are not distinguishable from noise."
    )
