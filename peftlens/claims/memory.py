"""Full fine-tuning needs far more training memory than PEFT.

Rule: the peak training memory above the loaded base (median over seeds) of full fine-tuning is
divided by that of each other method's leanest configuration. "Far more" means at least twice.
Supported if this holds for every method, contradicted if for fewer than half. Only runs of the same
batch size and length are comparable: those of one study.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import Outcome, seeds

CLAIM = "Full fine-tuning needs far more training memory than PEFT."
SOURCE = "common teaching; Hu et al. 2021, arXiv:2106.09685, section 4.2"
NEEDS = ("cost",)
TO_MEASURE = "train full and other methods in one study, one run at a time"
ANALYSIS = "comparison"
FAR = 2.0


def verdict(tables: Mapping[str, pd.DataFrame]) -> tuple[Outcome, str]:
    """Judge by the ratio of peaks."""
    rows = tables["cost"].dropna(subset=["peak_memory_bytes", "optimizer_state_bytes"])
    rows = rows[rows["optimizer_state_bytes"] > 0]  # frozen trains nothing
    peaks = rows.groupby(["method", "configuration"])["peak_memory_bytes"].median().astype(float)
    leanest = peaks.groupby("method").min()
    if "full" not in leanest or len(leanest) < 2:
        return "not measured", (
            "Full fine-tuning and another method must both be trained where memory is measured."
        )
    ratios = (leanest["full"] / leanest.drop("full").clip(lower=1)).sort_values()
    far = ratios >= FAR
    each = ", ".join(f"{method} {ratio:.1f}" for method, ratio in ratios.items())
    sentence = (
        f"Over the loaded base, full fine-tuning takes {leanest['full'] / 1e6:.0f} MB, at least "
        f"twice as much as {far.sum()} of {len(far)} other methods (times as much: {each}; "
        f"{seeds(rows['seed'].nunique())})."
    )
    if far.all():
        return "supported", sentence
    return ("contradicted" if far.mean() < 0.5 else "insufficient evidence"), sentence
