"""B·A has the shape of W; merged into W, LoRA adds no inference latency.

Rule: the time of a forward pass of the merged model over that of the base, for every timed LoRA,
with its 95 % interval over rounds. "No latency" means at most 5 % more, and not the usual 20 %: the
merged model is computed as the base is, and nothing else is to be expected than exactly 1.
Supported if every interval lies below that, contradicted if any lies above after Holm's correction
for the number of LoRAs. A LoRA does not count if its A/A control, the base over itself, was not
within 5 % of 1: the machine was disturbed.
"""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from scipy.stats import t

from peftlens.claims import ONE_SIDED, Judgment
from peftlens.numerics.mixed_model import Estimate, holm

CLAIM = "B·A has the shape of W; merged into W, LoRA adds no inference latency."
SOURCE = "Hu et al. 2021, arXiv:2106.09685, section 4.1"
NEEDS = ("latency",)
TO_MEASURE = "train lora, and measure the probe latency"
CRITERION = "no merged LoRA takes over 5 % more time than the base"
PRACTICE = {
    "supported": "Merge a LoRA before serving it alone.",
    "contradicted": "Time the merged model before relying on it.",
}
ANALYSIS = "merging"
MORE = 1.05


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> Judgment:
    """Judge by the merged model's time over the base's."""
    rows = tables["latency"]
    rows = rows[rows["method"] == "lora"]
    merged = rows[rows["state"] == "merged"].dropna(subset=["ci_high"])
    if merged.empty:
        return Judgment("not measured", "No LoRA was merged and timed.")
    control = rows[rows["state"] == "control"].dropna(subset=["ci_high"])
    if control.empty:
        return Judgment(
            "not measured", "The table has no control, the base over itself; measure it again."
        )
    worst = merged.sort_values("ratio").iloc[-1]
    attached = rows[rows["state"] == "attached"]["ratio"].median()
    apart = (control["ci_low"] > MORE) | (control["ci_high"] < 1 / MORE)
    sentence = (
        f"Merged, the slowest of {len(merged)} LoRAs takes {worst['ratio']:.3f} times the base's "
        f"time ({worst['ci_low']:.3f} to {worst['ci_high']:.3f}, {worst['n_rounds']} rounds); "
        f"attached and not merged they take {attached:.2f} times as long, in the median. The base "
        f"over itself takes {control['ratio'].min():.3f} to {control['ratio'].max():.3f} times."
    )
    if apart.any():
        sentence += f" The machine was disturbed in {apart.sum()} of {len(control)} measurements."
    usable = merged[~merged["run"].isin(control[apart]["run"])]
    times = [_log_ratio(row) for row in usable.to_dict("records")]
    more = math.log(MORE)
    if len(usable) == len(merged) and max(one.p_below(more) for one in times) <= alpha:
        return Judgment("supported", sentence)
    slower = len(times) and holm([one.p_above(more) for one in times]).min() <= alpha
    return Judgment("contradicted" if slower else "insufficient evidence", sentence)


def _log_ratio(row: Mapping[Any, Any]) -> Estimate:
    """Return the logarithm of a ratio of times with the standard error that its interval has."""
    freedom = row["n_rounds"] - 1
    width = math.log(row["ci_high"] / row["ci_low"])
    error = width / (2 * float(t.isf(ONE_SIDED, freedom)))
    return Estimate(math.log(row["ratio"]), degrees_of_freedom=freedom, standard_error=error)
