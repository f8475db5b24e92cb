"""PEFT is less prone to catastrophic forgetting than full fine-tuning.

Rule: each parameter-efficient method is judged at the highest accuracy that it and full fine-tuning
both reach. Its increase of the loss on text at that level, minus that of full fine-tuning with the
same seeds, has a 95 % interval over seeds (`forgetting_at_matched_fit`). A method with an interval
below zero forgets less, above zero more. Supported if at least one method forgets less and none
forgets more, contradicted if at least one forgets more and none less; with both or neither, the
evidence is insufficient.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import Outcome, seeds

CLAIM = "PEFT is less prone to catastrophic forgetting than full fine-tuning."
SOURCE = "common teaching; Biderman et al. 2024, arXiv:2405.09673, for LoRA"
NEEDS = ("forgetting_at_matched_fit",)
TO_MEASURE = (
    "train full and other methods over several seeds and learning rates with "
    "checkpoint_steps, on one task"
)
ANALYSIS = "forgetting"


def verdict(tables: Mapping[str, pd.DataFrame]) -> tuple[Outcome, str]:
    """Judge by the methods whose interval excludes zero."""
    rows = tables["forgetting_at_matched_fit"].dropna(subset="diff_vs_full")
    if rows.empty:
        return "not measured", (
            "Full fine-tuning and another method were not both trained to the same accuracy."
        )
    highest = rows.groupby(["suite", "configuration"])["level"].transform("max")
    rows = rows[rows["level"] == highest]
    less = rows[(rows["diff_vs_full_ci_high"] < 0).fillna(False)]
    more = rows[(rows["diff_vs_full_ci_low"] > 0).fillna(False)]
    comparisons = "; ".join(_method_text(row) for row in rows.to_dict("records"))
    sentence = (
        f"At equal accuracy {len(less)} of {len(rows)} methods forgot less than full fine-tuning "
        f"and {len(more)} more, by 95 % intervals over {seeds(rows['n_seeds'].min())}: "
        f"{comparisons}."
    )
    if len(less) and not len(more):
        return "supported", sentence
    return ("contradicted" if len(more) and not len(less) else "insufficient evidence"), sentence


def _method_text(row: dict) -> str:
    number = f"{row['configuration']} at {row['level']:.0%} {row['diff_vs_full']:+.2f}"
    if pd.isna(row["diff_vs_full_ci_low"]):
        return f"{number} nats per token (one seed)"
    return (
        f"{number} ({row['diff_vs_full_ci_low']:+.2f} to {row['diff_vs_full_ci_high']:+.2f}) "
        "nats per token"
    )
