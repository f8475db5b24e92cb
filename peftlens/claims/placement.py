"""LoRA on self-attention alone is often enough.

Rule: the LoRA on attention alone against the one that includes the feed-forward layers, of several
the one with the best validation accuracy, each at its best learning rate, by the paired difference
of test accuracies with its 95 % interval over seeds and examples. Supported if the interval lies
above minus two points, contradicted if below. One study shows this for one task; "often" needs
several.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import (
    ONE_SIDED,
    Outcome,
    counted,
    difference_text,
    hyperparameter,
    pair,
    power_text,
)

CLAIM = "LoRA on self-attention alone is often enough."
SOURCE = "common teaching; Hu et al. 2021, arXiv:2106.09685, section 4.2"
NEEDS = ("rank_chart", "paired_accuracy", "configurations")
TO_MEASURE = (
    "train lora with target_modules attention and with all_linear, over the same seeds and "
    "several learning rates"
)
ANALYSIS = "placement"
MARGIN = 0.02
ATTENTION = {"attention", "query_value", "key_value", "q_proj", "k_proj", "v_proj", "o_proj"}


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> tuple[Outcome, str]:
    """Judge by the best of either placement."""
    rows = tables["rank_chart"]
    rows = rows[rows["method"] == "lora"].sort_values(
        "validation_accuracy", ascending=False, kind="stable"
    )
    targets = rows["configuration"].map(hyperparameter(tables, "target_modules"))
    alone = targets.astype("string").str.split(",").map(ATTENTION.issuperset)
    if alone.all() or not alone.any():
        return "not measured", (
            "LoRA must be trained on attention alone, and with the feed-forward layers."
        )
    attention, wider = rows[alone].iloc[0], rows[~alone].iloc[0]
    difference = pair(tables["paired_accuracy"], attention["configuration"], wider["configuration"])
    if difference is None:
        return "not measured", "The two were not trained with the same seeds."
    sentence = (
        f"On attention alone the best LoRA ({attention['configuration']}, "
        f"{attention['trainable_parameters']:,} parameters) reaches {attention['accuracy']:.3f}, "
        f"with the feed-forward layers ({wider['configuration']}, "
        f"{wider['trainable_parameters']:,}) {wider['accuracy']:.3f}: "
        f"{difference_text(difference)} ({counted(wider)}; {power_text([difference])})."
    )
    if difference.p_above(-MARGIN) <= alpha:
        return "supported", sentence
    worse = difference.p_below(-MARGIN) <= alpha
    return ("contradicted" if worse else "insufficient evidence"), sentence
