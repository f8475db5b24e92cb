"""A soft prompt's nearest vocabulary tokens form tight semantic clusters.

Rule: a vector counts if `soft_prompt_null` finds, by cosine, that its nearest words, or the words
that its displacement from the start points to, are closer together than chance would give: its
verdict is *readable* or *displacement readable*. The population are prompts. Supported if the 95 %
interval of the share of prompts with mostly such vectors lies above one half. Contradicted if it
lies below and in every prompt a displacement with a cosine of 0.6 to a common word would have been
found with power 0.8: without power, finding nothing shows nothing. Prefixes and retrained embedding
rows are no soft prompts, and don't count.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import ONE_SIDED, Judgment, by_half, trained_prompts, without_power

CLAIM = "A soft prompt's nearest vocabulary tokens form tight semantic clusters."
SOURCE = "Lester et al. 2021, arXiv:2104.08691, section 7"
NEEDS = ("soft_prompt_null",)
TO_MEASURE = (
    "train prompt_tuning with several seeds and initializations, and measure the probe "
    "soft_prompt_null"
)
CRITERION = (
    "most prompts have mostly vectors that lie in or move to tight clusters of words; it "
    "fails only if such vectors would have been found with power 0.8"
)
PRACTICE = {
    "supported": "Read a prompt by the words nearest to its vectors, or to their displacements.",
    "contradicted": "Don't read a meaning into the words nearest to a prompt's vectors.",
}
ANALYSIS = "soft_prompts"
FOUND = ("readable", "displacement readable")
EFFECT = 0.6  # cosine of a displacement to a common word
POWER = 0.8


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> Judgment:
    """Judge by the share of vectors that are readable, or whose displacement is."""
    rows = trained_prompts(tables["soft_prompt_null"])
    if "kind" not in rows or f"power_at_{EFFECT}" not in rows:
        return Judgment(
            "not measured",
            "The table has neither displacements nor the power of its tests; measure it again.",
        )
    rows = rows[(rows["metric"] == "cosine") & (rows["kind"] == "soft prompt")]
    vectors = rows[rows["position"].notna()]
    vectors = vectors[vectors["verdict"] != "tight, start unknown"]
    if vectors.empty:
        return Judgment("not measured", "No prompt with a known start was trained.")
    found = vectors["verdict"].isin(FOUND).groupby(vectors["run"]).mean()
    outcome, sentence, share = by_half(
        found, "most vectors lie in or move to tight clusters of words", alpha
    )
    prompts = rows[rows["position"].isna() & rows["run"].isin(found.index)]
    power = prompts[f"power_at_{EFFECT}"].astype(float).min()
    shares = vectors["verdict"].value_counts(normalize=True)
    each = ", ".join(f"{part:.0%} {word}" for word, part in shares.items())
    sentence = (
        f"{sentence} Of all {len(vectors)} vectors: {each}; mean displacement "
        f"{vectors['moved'].mean():.2f} of the start's length. A displacement with a cosine of "
        f"{EFFECT} to a word would be found with power {power:.2f} or more."
    )
    if outcome == "contradicted" and not power >= POWER:
        return without_power(sentence, power, POWER, share)
    return Judgment(outcome, sentence, share)
