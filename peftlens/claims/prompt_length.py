"""20 to 100 virtual tokens are enough.

Rule: the shortest trained prompt of 20 to 100 tokens must come within one point of the most
accurate prompt of any length, each at its best learning rate (`rank_chart`: `within_margin`).
Supported if it does, contradicted if no prompt of 20 to 100 tokens does. Two lengths are needed,
one of them from 20 to 100. The accuracy of shorter prompts is reported, and does not decide.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import Outcome, difference_text, hyperparameter, seeds

CLAIM = "20 to 100 virtual tokens are enough."
SOURCE = "Lester et al. 2021, arXiv:2104.08691, section 3.2"
NEEDS = ("rank_chart", "configurations")
TO_MEASURE = (
    "train prompt_tuning with two or more lengths, one of them from 20 to 100, over several "
    "seeds and learning rates"
)
ANALYSIS = "prompt_length"
LOW, HIGH = 20, 100


def verdict(tables: Mapping[str, pd.DataFrame]) -> tuple[Outcome, str]:
    """Judge by the lengths within the margin of the best one."""
    rows = tables["rank_chart"]
    rows = rows[rows["method"] == "prompt_tuning"]
    lengths = rows["configuration"].map(hyperparameter(tables, "num_virtual_tokens")).astype(int)
    rows = rows.assign(length=lengths).sort_values("length")
    claimed = rows[rows["length"].between(LOW, HIGH)]
    if claimed.empty or rows["length"].nunique() < 2:
        return "not measured", "Prompts of 20 to 100 tokens and another length are needed."
    if rows["diff_vs_best"].isna().any():
        return "not measured", "All lengths must be trained with the same seeds."
    each = "; ".join(
        f"{row['length']} token{'s'[: row['length'] > 1]} {row['accuracy']:.3f} "
        f"({difference_text(*(row[f'diff_vs_best{end}'] for end in ('', '_ci_low', '_ci_high')))})"
        for row in rows.to_dict("records")
    )
    sentence = (
        f"Against the most accurate length, over {seeds(rows['n_seeds'].min())} and "
        f"{rows['n_items'].min()} examples: {each}."
    )
    if claimed["within_margin"].iloc[0] == "yes":
        return "supported", sentence
    all_worse = (claimed["within_margin"] == "no").all()
    return ("contradicted" if all_worse else "insufficient evidence"), sentence
