"""20 to 100 virtual tokens are enough.

Rule: the prompt of 20 to 100 tokens with the best validation accuracy against every longer one,
each at its best learning rate, by the paired differences of test accuracies over seeds and
examples. Supported if no longer prompt is better by two points: all of these tests must agree, each
at one-sided 0.025. Contradicted if some longer prompt is better by more than two points, at 0.025
after Holm's correction for the number of longer prompts. A length above 100 is needed: among
lengths up to 100 the best one is always enough. Shorter prompts are reported, and do not decide.
Only prompts equal in all but their length are compared; of several such groups the one with the
most lengths decides.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import (
    ONE_SIDED,
    Judgment,
    counted,
    difference_text,
    equal_but,
    hyperparameter,
    outcome_of,
    paired_with,
    power_text,
)
from peftlens.results.comparisons import all_hold

CLAIM = "20 to 100 virtual tokens are enough."
SOURCE = "Lester et al. 2021, arXiv:2104.08691, section 3.2"
NEEDS = ("rank_chart", "paired_accuracy", "configurations")
TO_MEASURE = (
    "train prompt_tuning with lengths from 20 to 100 and above 100, over several seeds and "
    "learning rates"
)
CRITERION = "no prompt of over 100 tokens is two points ahead"
PRACTICE = {
    "supported": "Stay within 100 virtual tokens.",
    "contradicted": "Try more than 100 virtual tokens.",
}
ANALYSIS = "prompt_length"
LOW, HIGH = 20, 100
MARGIN = 0.02


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> Judgment:
    """Judge by the differences of other lengths from the best length of 20 to 100."""
    rows = tables["rank_chart"]
    rows = rows[rows["method"] == "prompt_tuning"]
    lengths = rows["configuration"].map(hyperparameter(tables, "num_virtual_tokens")).astype(int)
    rows = rows.assign(length=lengths).sort_values("length")
    numbers = rows["configuration"].map(equal_but(tables, "num_virtual_tokens"))
    complete = [
        group
        for _, group in rows.groupby(numbers)
        if group["length"].max() > HIGH and group["length"].between(LOW, HIGH).any()
    ]
    if not complete:
        return Judgment("not measured", "Prompts of 20 to 100 tokens and longer ones are needed.")
    rows = max(complete, key=len)
    claimed = rows[rows["length"].between(LOW, HIGH)]
    best = claimed.sort_values("validation_accuracy", kind="stable").iloc[-1]
    others = rows[~rows["length"].between(LOW, HIGH)]
    gaps = paired_with(
        tables["paired_accuracy"], best, others, "length", lambda _: {"high": MARGIN}
    )
    if len(gaps) < len(others):
        return Judgment("not measured", "All lengths must be trained with the same seeds.")
    longer = tuple(gap for length, gap in gaps.items() if length > HIGH)
    each = "; ".join(
        f"{length} token{'s'[: length > 1]} have {difference_text(gap.estimate)}"
        for length, gap in gaps.items()
    )
    power = power_text(gap.estimate for gap in longer)
    sentence = (
        f"Of 20 to 100 tokens, {best['length']} have the best validation accuracy (on the test "
        f"{best['accuracy']:.3f}, {counted(best)}); against them {each} ({power})."
    )
    return Judgment(outcome_of(all_hold(longer, alpha)), sentence, longer)
