"""Full fine-tuning needs far more training memory than PEFT.

Rule: the peak memory of full fine-tuning over that of each other method, each by its configuration
with the fewest trainable parameters, in processes that hold nothing else: the base counts. It is
the geometric mean over rounds on one machine, at every measured number of tokens per step, because
the memory of activations grows with it and is about the same for all. "Far more" means at least
twice, not the usual 1.2 times: it should decide which machine is needed. It holds at a number of
tokens if every method's interval lies above two, and fails if those of more than half lie below.
Supported if it holds at all of them, contradicted if it fails at any. The intervals are
simultaneous over the numbers of tokens, and those of "more than half" over the methods, too; none
counts where the A/A control is disturbed. Baselines, which train nothing or all, do not count as
PEFT.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import ONE_SIDED, Judgment, family
from peftlens.results.cost_ratio import Point, Ratio, points, simultaneous

CLAIM = "Full fine-tuning needs far more training memory than PEFT."
SOURCE = "common teaching; Hu et al. 2021, arXiv:2106.09685, section 4.2"
NEEDS = ("training_cost",)
TO_MEASURE = (
    "train full and other methods in one study, and measure the probe training_cost at several "
    "lengths on an otherwise idle machine"
)
CRITERION = "full fine-tuning takes at least twice the memory of every method, at all lengths"
PRACTICE = {
    "supported": "If memory is short, use PEFT: it takes at most half at these lengths.",
    "contradicted": "Count the base and the activations: PEFT alone need not halve the memory.",
}
ANALYSIS = "comparison"
FAR = 2.0
MEMORY = "peak_memory_bytes"


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> Judgment:
    """Judge by the curve of ratios over tokens per step."""
    found = [*points(tables["training_cost"])]
    level = simultaneous(len(found), alpha)
    curve = [(point, ratios) for point in found if (ratios := _ratios(point, level))]
    if len({point.tokens for point, _ in curve}) < 2:
        return Judgment(
            "not measured",
            "Full fine-tuning and another method must both be measured, in two rounds or more at "
            "two numbers of tokens per step.",
        )
    judged = [(point, ratios) for point, ratios in curve if not point.disturbed(MEMORY)]
    holds = [p for p, ratios in judged if all(r.low > FAR for r in ratios.values())]
    fails = [p for p, ratios in judged if _fails(p, len(ratios), level)]
    each = "; ".join(_described(point, ratios) for point, ratios in curve)
    sentence = (
        "With the base in it, full fine-tuning's memory is this many times that of the other "
        f"methods: {each}. At least twice as much for every method: {_named(holds)}; less than "
        f"twice for more than half: {_named(fails)}."
    )
    if len(judged) < len(curve):
        sentence += f" The machine was disturbed at {len(curve) - len(judged)} of {len(curve)}."
    if fails:
        return Judgment("contradicted", sentence)
    return Judgment("supported" if len(holds) == len(curve) else "insufficient evidence", sentence)


def _ratios(point: Point, level: float) -> dict[str, Ratio]:
    """Return full fine-tuning's memory over that of each other method."""
    rows = point.exact.sort_values("trainable_parameters").reset_index()
    leanest = rows.drop_duplicates("method").set_index("method")["configuration"]
    if "full" not in leanest:
        return {}
    others = leanest[[family(str(method)) != "baseline" for method in leanest.index]]
    ratios = {
        str(method): point.ratio(leanest["full"], str(other), MEMORY, level)
        for method, other in others.items()
    }
    return {method: ratio for method, ratio in ratios.items() if ratio is not None}


def _fails(point: Point, n: int, level: float) -> bool:
    """Return whether the ratios of more than half of n methods lie below the margin.

    That at least u of n hypotheses are false is shown by the u-th smallest p-value times n - u + 1
    (Benjamini & Heller 2008, Biometrics 64, 1215-1222).
    """
    half = n // 2 + 1
    ratios = _ratios(point, 1 - (1 - level) / (n - half + 1))
    return sum(ratio.high < FAR for ratio in ratios.values()) >= half


def _described(point: Point, ratios: Mapping[str, Ratio]) -> str:
    ordered = sorted(ratios.items(), key=lambda item: item[1].value)
    (least, ratio), (most, highest) = ordered[0], ordered[-1]
    upper = "" if most == least else f", up to {highest.value:.2f} of {most}"
    return f"at {point.name} tokens {ratio} of {least}{upper}"


def _named(found: list[Point]) -> str:
    return ", ".join(point.name for point in found) or "nowhere"
