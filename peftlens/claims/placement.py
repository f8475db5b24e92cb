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
    Judgment,
    counted,
    difference_text,
    hyperparameter,
    outcome_of,
    paired,
    power_text,
)
from peftlens.results.comparisons import all_hold

CLAIM = "LoRA on self-attention alone is often enough."
SOURCE = "common teaching; Hu et al. 2021, arXiv:2106.09685, section 4.2"
NEEDS = ("rank_chart", "paired_accuracy", "configurations")
TO_MEASURE = (
    "train lora with target_modules attention and with all_linear, over the same seeds and "
    "several learning rates"
)
CRITERION = "attention alone is less than two points behind"
PRACTICE = {
    "supported": "Start with LoRA on attention alone: other layers add less than two points.",
    "contradicted": 'Adapt the feed-forward layers, too: `target_modules="all_linear"`.',
}
ANALYSIS = "placement"
MARGIN = 0.02
ATTENTION = {"attention", "query_value", "key_value", "q_proj", "k_proj", "v_proj", "o_proj"}


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> Judgment:
    """Judge by the best of either placement."""
    rows = tables["rank_chart"]
    rows = rows[rows["method"] == "lora"].sort_values(
        "validation_accuracy", ascending=False, kind="stable"
    )
    targets = rows["configuration"].map(hyperparameter(tables, "target_modules"))
    alone = targets.astype("string").str.split(",").map(ATTENTION.issuperset)
    if alone.all() or not alone.any():
        return Judgment(
            "not measured",
            "LoRA must be trained on attention alone, and with the feed-forward layers.",
        )
    attention, wider = rows[alone].iloc[0], rows[~alone].iloc[0]
    names = attention["configuration"], wider["configuration"]
    gap = paired(tables["paired_accuracy"], *names, low=-MARGIN)
    if gap is None:
        return Judgment("not measured", "The two were not trained with the same seeds.")
    sentence = (
        f"On attention alone the best LoRA ({attention['configuration']}, "
        f"{attention['trainable_parameters']:,} parameters) reaches {attention['accuracy']:.3f}, "
        f"with the feed-forward layers ({wider['configuration']}, "
        f"{wider['trainable_parameters']:,}) {wider['accuracy']:.3f}: "
        f"{difference_text(gap.estimate)} ({counted(wider)}; {power_text([gap.estimate])})."
    )
    return Judgment(outcome_of(all_hold([gap], alpha)), sentence, (gap,))
