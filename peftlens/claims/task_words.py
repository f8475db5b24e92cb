"""The nearest tokens of a soft prompt are related to its task.

Rule: a prompt counts if `soft_prompt_task_words` finds it, as a whole, closer to the labels or to
the words typical of the training text than random directions, random steps from its initialization
and real tokens; with two sets of words, at level 0.025 each. Supported if the 95 % interval of the
share of such prompts lies above one half, contradicted if below.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import Outcome, by_half, trained_prompts

CLAIM = "The nearest tokens of a soft prompt are related to its task."
SOURCE = "Lester et al. 2021, arXiv:2104.08691, section 7"
NEEDS = ("soft_prompt_task_words",)
TO_MEASURE = "train prompt_tuning with several seeds, and measure the probe soft_prompt_task_words"
ANALYSIS = "soft_prompts"
LEVEL = 0.05


def verdict(tables: Mapping[str, pd.DataFrame]) -> tuple[Outcome, str]:
    """Judge by the share of prompts that are related to the task."""
    rows = trained_prompts(tables["soft_prompt_task_words"])
    whole = rows[rows["position"].isna()]
    tokens = rows[rows["position"].notna()]
    if whole.empty:
        return "not measured", "No prompt was trained."
    sets = whole.groupby("run")["q"].agg(["min", "count"])
    related = (sets["min"] <= LEVEL / sets["count"]).astype(float)
    outcome, sentence = by_half(related, "the words are closer to the task's than chance")
    each = tokens.groupby("words")["related"].mean()
    shares = (
        f"{share:.0%} to the {'labels' if name == 'labels' else 'typical words'}"
        for name, share in each.items()
    )
    return outcome, f"{sentence} Related single vectors: {', '.join(shares)}."
