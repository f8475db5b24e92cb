"""Ranks 4 to 32 are a good trade between parameters and accuracy.

Rule: the smallest LoRA rank that comes within one point of the most accurate one, each at its best
rate (`rank_chart`: `enough`). Supported if it lies between 4 and 32 and every smaller rank falls
short; contradicted if a smaller rank is enough already, or none of 4 to 32 is. Ranks below 4 and
above 32 must have been trained, and all on the same layers.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import Outcome, option, told

CLAIM = "Ranks 4 to 32 are a good trade between parameters and accuracy."
SOURCE = "common teaching; Hu et al. 2021, arXiv:2106.09685, section 7.2, finds 1 to 8 enough"
NEEDS = ("rank_chart",)
LOW, HIGH = 4, 32


def verdict(tables: Mapping[str, pd.DataFrame]) -> tuple[Outcome, str]:
    """Judge by where accuracy saturates."""
    rows = tables["rank_chart"]
    rows = rows[(rows["method"] == "lora") & rows["rank"].notna()].sort_values("rank")
    layers = rows["setting"].map(lambda one: option(str(one), "target_modules"))
    rows = rows[layers.isna()] if layers.isna().any() else rows
    if rows.empty or rows["rank"].min() >= LOW or rows["rank"].max() <= HIGH:
        return "not measured", "LoRA must be trained with ranks below 4 and above 32 too."
    enough = rows.set_index("rank")["enough"]
    each = "; ".join(
        f"rank {row['rank']} {row['accuracy']:.3f} "
        f"({told(row['against_best'], row['against_best_low'], row['against_best_high'])})"
        for row in rows.to_dict("records")
    )
    best = rows.sort_values("accuracy")["rank"].iloc[-1]
    first = enough[enough == "yes"].index.min()
    sentence = (
        f"The most accurate rank is {best}; the smallest within a point of it is {first} (against "
        f"the best, {rows['n_seeds'].min()} seeds and {rows['n_items'].min()} examples: {each})."
    )
    below = enough[enough.index < LOW]
    between = enough[(enough.index >= LOW) & (enough.index <= HIGH)]
    if (below == "yes").any() or (between == "no").all():
        return "contradicted", sentence
    if (below == "no").all() and (between == "yes").any():
        return "supported", sentence
    return "insufficient evidence", sentence
