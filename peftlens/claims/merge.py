"""B·A has the shape of W; merged into W, LoRA adds no inference latency.

Rule: the time of a forward pass of the merged model over that of the base, for every timed LoRA,
with its 95 % interval over rounds. "No latency" means at most 5 % more. Supported if every interval
lies below that, contradicted if any lies above.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import Outcome

CLAIM = "B·A has the shape of W; merged into W, LoRA adds no inference latency."
SOURCE = "Hu et al. 2021, arXiv:2106.09685, section 4.1"
NEEDS = ("latency",)
TO_MEASURE = "train lora, and measure the probe latency"
ANALYSIS = "merging"
MORE = 1.05


def verdict(tables: Mapping[str, pd.DataFrame]) -> tuple[Outcome, str]:
    """Judge by the merged model's time over the base's."""
    rows = tables["latency"]
    rows = rows[rows["method"] == "lora"]
    merged = rows[rows["state"] == "merged"].dropna(subset=["ci_high"])
    if merged.empty:
        return "not measured", "No LoRA was merged and timed."
    worst = merged.sort_values("ratio").iloc[-1]
    attached = rows[rows["state"] == "attached"]["ratio"].median()
    sentence = (
        f"Merged, the slowest of {len(merged)} LoRAs takes {worst['ratio']:.3f} times the base's "
        f"time ({worst['ci_low']:.3f} to {worst['ci_high']:.3f}, {worst['n_rounds']} rounds); "
        f"attached and not merged they take {attached:.2f} times as long, in the median."
    )
    if (merged["ci_high"] < MORE).all():
        return "supported", sentence
    return (
        "contradicted" if (merged["ci_low"] > MORE).any() else "insufficient evidence"
    ), sentence
