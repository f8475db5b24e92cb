"""Tuned variants of LoRA are as accurate as tuned LoRA.

Rule: every variant (AdaLoRA, DoRA, LoRA-FA, LoRA+, OLoRA, PiSSA, rsLoRA) against LoRA of the same
rank, layers and training, by the paired difference of test accuracies over seeds and examples. An
equivalence within two points, the larger of the one to two points of the source. Supported if three
variants or more, and all that count, are within the margin (two one-sided tests at 5 %);
contradicted if one is beyond it, on either side, at one-sided 0.025 after Holm's correction for the
number of variants. "Tuned" means that the best learning rate by validation accuracy lies inside a
grid of three rates or more: variants, and LoRAs, whose best rate is at an edge don't count. Alpha
may differ, as PiSSA's scale is one. Of several ranks the one with the most variants decides, then
the largest.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import (
    ONE_SIDED,
    Judgment,
    all_hold,
    counted,
    difference_text,
    outcome_of,
    paired,
    power_text,
)
from peftlens.results.best_rates import edge_text, untuned_in_chart
from peftlens.results.comparable import alike, charted, sweep_values
from peftlens.results.comparisons import Margins

CLAIM = "Tuned variants of LoRA are as accurate as tuned LoRA."
SOURCE = "arXiv:2602.04998"
NEEDS = ("rank_chart", "paired_accuracy", "configurations")
TO_MEASURE = (
    "train lora and three or more of its variants with one rank, over the same seeds, each at four "
    "learning rates or more"
)
CRITERION = "every variant is within two points of LoRA"
PRACTICE = {
    "supported": "Use plain LoRA, and spend the effort on its learning rate.",
    "contradicted": (
        "Don't take variants for equal to LoRA: one is over two points better or worse."
    ),
}
ANALYSIS = "variants"
MARGIN = 0.02  # of accuracy
LEAST = 3  # variants
VARIANTS = ("adalora", "dora", "lora_fa", "lora_plus", "olora", "pissa", "rslora")


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> Judgment:
    """Judge by the differences of the variants from the LoRA that has most of them."""
    rows, groups = charted(tables), _groups(tables)
    if not any(groups.values()):
        return Judgment("not measured", "LoRA and variants of the same rank must be trained alike.")
    lora = max(groups, key=lambda name: (len(groups[name]), rows[name]["trainable_parameters"]))
    margins = Margins(low=-MARGIN, high=MARGIN)
    found = {
        name: paired(tables["paired_accuracy"], name, lora, **margins) for name in groups[lora]
    }
    gaps = {name: gap for name, gap in found.items() if gap is not None}
    if not gaps:
        return Judgment("not measured", "None was trained with LoRA's seeds.")
    each = "; ".join(f"{name} has {difference_text(gap.estimate)}" for name, gap in gaps.items())
    loose = untuned_in_chart(tables, (lora, *gaps))
    sentence = (
        f"Against {lora}, which reaches {rows[lora]['accuracy']:.3f} ({counted(rows[lora])}), "
        f"{each} ({power_text(gap.estimate for gap in gaps.values())}).{edge_text(loose)}"
    )
    tuned = [gap for name, gap in gaps.items() if name not in loose]
    if lora in loose or not tuned:
        return Judgment("insufficient evidence", sentence)
    holds = all_hold(tuned, alpha)
    if holds is not False and len(tuned) < LEAST:
        return Judgment("insufficient evidence", sentence)
    return Judgment(outcome_of(holds), sentence, tuple(tuned))


def _groups(tables: Mapping[str, pd.DataFrame]) -> dict[str, list[str]]:
    """Return the variants that agree with each LoRA; of each the best one on validation."""
    values = sweep_values(tables)
    rows = tables["rank_chart"].sort_values("validation_accuracy", kind="stable")
    names = [*zip(rows["configuration"].astype(str), rows["method"].astype(str), strict=True)]
    groups = {}
    for lora in (name for name, method in names if method == "lora"):
        chosen = {
            method: name
            for name, method in names
            if method in VARIANTS and alike(values[name], values[lora], {"alpha"})
        }
        groups[lora] = [*chosen.values()]
    return groups
