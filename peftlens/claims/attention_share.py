"""Most parameters of the model sit in attention.

Rule: the share of the base's parameters in its attention layers, over all and over the blocks' own.
Supported if both are above one half, contradicted if neither is. Counted, so there is no interval.
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
ANALYSIS = "rank"


def verdict(tables: Mapping[str, pd.DataFrame]) -> tuple[Outcome, str]:
    """Judge by the counts of the base."""
    parts = tables["base_parameters"].drop_duplicates("part").set_index("part")
    counts = parts["parameters"].astype(int)
    whole, inside = counts.sum(), counts.drop(["embeddings", "other"], errors="ignore").sum()
    attention = counts.get("attention", 0)
    shares = [attention / total if total else 0 for total in (whole, inside)]
    others = ", ".join(f"{part} {count / whole:.0%}" for part, count in counts.items())
    sentence = (
        f"Attention holds {shares[0]:.0%} of the base's {whole:,} parameters and {shares[1]:.0%} "
        f"of its blocks' ({others})."
    )
    over = [share > 0.5 for share in shares]
    if all(over):
        return "supported", sentence
    return ("insufficient evidence" if any(over) else "contradicted"), sentence
