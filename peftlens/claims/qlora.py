"""Quantizing the frozen base (QLoRA) keeps accuracy and saves memory.

Rule: QLoRA against LoRA of the same rank, layers and training, each at its best learning rate.
Accuracy, over seeds and test examples: kept if the interval of the paired difference lies above
minus two points, lost if below. Memory, over rounds on one machine: the peak of training in a
process that holds the quantized base alone, over LoRA's, both with the base; saved if the interval
of the ratio lies below 1 at every measured number of tokens per step, not saved if above 1 at any.
Supported if accuracy is kept and memory saved, contradicted if either is not (Bonferroni for the
two). The intervals are simultaneous over the numbers of tokens, and none counts where the A/A
control is disturbed. The peak of loading, which holds the unquantized weights, is reported, and
does not decide.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import (
    ONE_SIDED,
    Judgment,
    counted,
    difference_text,
    equal_but,
    outcome_of,
    paired,
)
from peftlens.results.cost_ratio import Point, points, simultaneous

CLAIM = "Quantizing the frozen base (QLoRA) keeps accuracy and saves memory."
SOURCE = "Dettmers et al. 2023, arXiv:2305.14314, section 4"
NEEDS = ("rank_chart", "paired_accuracy", "configurations", "training_cost")
TO_MEASURE = (
    "train lora and qlora of one rank, over the same seeds and several learning rates, and "
    "measure the probe training_cost; qlora needs the extra quant"
)
CRITERION = "QLoRA is less than two points behind, and takes less memory at all lengths"
PRACTICE = {
    "supported": "If memory is short, use a 4-bit base: it costs less than two points.",
    "contradicted": (
        "Test 4 bits before use: they cost over two points, or take more memory at some length."
    ),
}
ANALYSIS = "quantization"
MARGIN = 0.02
MEMORY = "peak_memory_bytes"


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> Judgment:
    """Judge by the pair with the highest rank."""
    rows = tables["rank_chart"].set_index("configuration")
    group = equal_but(tables, "method", "double_quant")  # LoRA has no double_quant
    pairs = [
        (one, other)
        for one in rows.index[rows["method"] == "qlora"]
        for other in rows.index[rows["method"] == "lora"]
        if group[one] == group[other]
    ]
    if not pairs:
        return Judgment("not measured", "QLoRA and LoRA of one rank must both be trained.")
    one, other = max(pairs, key=lambda both: rows.loc[both[0], "trainable_parameters"])
    gap = paired(tables["paired_accuracy"], one, other, low=-MARGIN)
    if gap is None:
        return Judgment("not measured", "The two were not trained with the same seeds.")
    found = [*points(tables["training_cost"])]
    level, stricter = (simultaneous(len(found), part) for part in (alpha, alpha / 2))
    memory = [(p, ratio) for p in found if (ratio := p.ratio(one, other, MEMORY, level))]
    if not memory:
        return Judgment("not measured", "The memory of the two was not measured in two rounds.")
    each = ", ".join(f"{ratio} at {point.name} tokens" for point, ratio in memory)
    sentence = (
        f"{one} reaches {rows.loc[one, 'accuracy']:.3f}, {other} "
        f"{rows.loc[other, 'accuracy']:.3f}: {difference_text(gap.estimate)} "
        f"({counted(rows.loc[one])}). With the base in it, its training memory over LoRA's is "
        f"{each}{_loading(memory[0][0], one)}."
    )
    usable = [(point, ratio) for point, ratio in memory if not point.disturbed(MEMORY)]
    if len(usable) < len(memory):
        sentence += f" The machine was disturbed at {len(memory) - len(usable)} of {len(memory)}."
    saved = [ratio for _, ratio in usable if ratio.high < 1]
    holds = None
    if gap.fails <= alpha / 2 or any(_is_more(point, one, other, stricter) for point, _ in usable):
        holds = False
    elif gap.holds <= alpha and len(saved) == len(memory):
        holds = True
    return Judgment(outcome_of(holds), sentence, (gap,))


def _is_more(point: Point, one: str, other: str, level: float) -> bool:
    ratio = point.ratio(one, other, MEMORY, level)
    return ratio is not None and ratio.low > 1


def _loading(point: Point, name: str) -> str:
    own = point.costs[point.costs["configuration"] == name]
    peak = own["loading_peak_memory_bytes"].astype(float).median()
    return "" if pd.isna(peak) else f"; loading takes {peak / 1e6:.0f} MB"
