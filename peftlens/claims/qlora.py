"""Quantizing the frozen base (QLoRA) keeps accuracy and saves memory.

Rule: QLoRA against LoRA of the same rank, layers and training, each at its best learning rate.
Accuracy is kept if the 95 % interval of the paired difference lies above minus one point. Memory is
saved if the peak training memory is lower. That peak is counted above the loaded base, which stays
in memory unquantized during the run, so savings on the base itself are not measured. Contradicted
if the interval lies below minus one point; supported if both hold.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import Outcome, counted, difference_text, equal_but, pair

CLAIM = "Quantizing the frozen base (QLoRA) keeps accuracy and saves memory."
SOURCE = "Dettmers et al. 2023, arXiv:2305.14314, section 4"
NEEDS = ("rank_chart", "paired_accuracy", "configurations")
TO_MEASURE = (
    "train lora and qlora of one rank, over the same seeds and several learning rates; qlora "
    "needs the extra quant"
)
ANALYSIS = "quantization"
MARGIN = 0.01


def verdict(tables: Mapping[str, pd.DataFrame]) -> tuple[Outcome, str]:
    """Judge by the pair with the highest rank."""
    rows = tables["rank_chart"].dropna(subset="peak_memory_bytes").set_index("configuration")
    group = equal_but(tables, "method", "double_quant")  # LoRA has no double_quant
    pairs = [
        (one, other)
        for one in rows.index[rows["method"] == "qlora"]
        for other in rows.index[rows["method"] == "lora"]
        if group[one] == group[other]
    ]
    if not pairs:
        return "not measured", (
            "QLoRA and LoRA of one rank must both be trained where memory is measured."
        )
    one, other = max(pairs, key=lambda both: rows.loc[both[0], "trainable_parameters"])
    difference = pair(tables["paired_accuracy"], one, other)
    if difference is None:
        return "not measured", "The two were not trained with the same seeds."
    low, high = float(difference.low or 0), float(difference.high or 0)
    memory = rows.loc[[one, other], "peak_memory_bytes"].astype(float)
    sentence = (
        f"{one} reaches {rows.loc[one, 'accuracy']:.3f}, {other} "
        f"{rows.loc[other, 'accuracy']:.3f}: {difference_text(difference)} "
        f"({counted(rows.loc[one])}); over the loaded base "
        f"they take {memory.iloc[0] / 1e6:.0f} and {memory.iloc[1] / 1e6:.0f} MB."
    )
    if high < -MARGIN:
        return "contradicted", sentence
    both_hold = low > -MARGIN and memory.iloc[0] < memory.iloc[1]
    return ("supported" if both_hold else "insufficient evidence"), sentence
