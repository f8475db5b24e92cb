"""An adapter is megabytes; a fully fine-tuned copy is as large as the model, once per task.

Rule: the adapter file of every configuration that trains only a part of the model is compared with
the file of full fine-tuning. Supported if at least nine in ten take a tenth of its bytes or less,
contradicted if fewer than half do. Bytes are exact, so there is no interval.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import Outcome

CLAIM = "An adapter is megabytes; a fully fine-tuned copy is as large as the model, once per task."
SOURCE = "common teaching; Hu et al. 2021, arXiv:2106.09685, section 4.2"
NEEDS = ("parameter_count",)
TO_MEASURE = "train full and at least one other method"
CRITERION = "nine in ten adapter files have a tenth of full fine-tuning's bytes or less"
PRACTICE = {
    "supported": "For many tasks keep one base, and an adapter for each.",
    "contradicted": (
        "Don't choose PEFT for its files: most are over a tenth as large as the model's."
    ),
}
ANALYSIS = "comparison"
SMALL = 0.1


def verdict(tables: Mapping[str, pd.DataFrame]) -> tuple[Outcome, str]:
    """Judge by bytes on disk."""
    rows = tables["parameter_count"].drop_duplicates("configuration")
    whole = rows[rows["method"] == "full"]["adapter_bytes"]
    parts = rows[~rows["method"].isin(["full", "frozen"]) & (rows["trainable_parameters"] > 0)]
    if whole.empty or parts.empty:
        return "not measured", "Full fine-tuning and another method must both be trained."
    full = float(whole.iloc[0])
    small = parts["adapter_bytes"] <= SMALL * full
    largest = parts.sort_values("adapter_bytes").iloc[-1]
    sentence = (
        f"Full fine-tuning saves {_megabytes(full)}; {small.sum()} of {len(parts)} other "
        "configurations save a tenth of that or less, in the median "
        f"{_megabytes(parts['adapter_bytes'].median())}. The largest is "
        f"{largest['configuration']} with {_megabytes(largest['adapter_bytes'])}."
    )
    if small.mean() >= 0.9:
        return "supported", sentence
    return ("contradicted" if small.mean() < 0.5 else "insufficient evidence"), sentence


def _megabytes(size: float) -> str:
    return f"{size / 1e6:.2g} MB" if size < 1e8 else f"{size / 1e6:.0f} MB"
