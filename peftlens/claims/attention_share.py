"""Most parameters of the model sit in attention.

Rule: the share of attention layers in all parameters of the base and in the parameters of its
blocks. Supported if both shares are above one half, contradicted if neither is. Parameters are
counted, so there is no interval.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import Outcome

CLAIM = "Most parameters of the model sit in attention."
SOURCE = (
    "common teaching; but Geva et al. 2021, arXiv:2012.14913, count two thirds in the feed-forward "
    "layers"
)
NEEDS = ("base_parameters",)
TO_MEASURE = "measure the probe base_parameters on any run of the base"
CRITERION = "attention has over half of all parameters, and of the blocks'"
PRACTICE = {
    "supported": "Tuning attention alone reaches most of the model.",
    "contradicted": "To reach most parameters, adapt other parts, too.",
}
ANALYSIS = "rank"


def verdict(tables: Mapping[str, pd.DataFrame]) -> tuple[Outcome, str]:
    """Judge by the counts of the base."""
    parts = tables["base_parameters"].drop_duplicates("part").set_index("part")
    counts = parts["parameters"].astype(int)
    base_total = counts.sum()
    block_total = counts.drop(["embeddings", "other"], errors="ignore").sum()
    attention = counts.get("attention", 0)
    shares = [attention / total if total else 0 for total in (base_total, block_total)]
    others = ", ".join(f"{part} {count / base_total:.0%}" for part, count in counts.items())
    sentence = (
        f"Attention holds {shares[0]:.0%} of the base's {base_total:,} parameters and "
        f"{shares[1]:.0%} of its blocks' ({others})."
    )
    above_half = [share > 0.5 for share in shares]
    if all(above_half):
        return "supported", sentence
    return ("insufficient evidence" if any(above_half) else "contradicted"), sentence
