"""Claims, one file each; the file name is the claim's name.

A claim has CLAIM, the sentence that is tested; SOURCE, who says so; NEEDS, the probes whose tables
it reads; and `verdict(tables)`. Its rule and its thresholds stand in its docstring. It reads result
tables only: no model, no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pandas as pd
from scipy.stats import binomtest

from peftlens import registry

Outcome = Literal["supported", "contradicted", "insufficient evidence", "not measured"]


@dataclass(frozen=True)
class Verdict:
    """What a study says of a claim.

    Attributes:
        claim: the claim's name.
        text: the claim itself, as it is made.
        outcome: one of four words.
        sentence: the numbers, in English.
    """

    claim: str
    text: str
    outcome: Outcome
    sentence: str


def judge(tables: Mapping[str, pd.DataFrame]) -> list[Verdict]:
    """Every claim's verdict on a study's tables; `not measured` where a table is missing."""
    found = []
    for name in registry.names("claims"):
        claim = registry.load("claims", name)
        measured = {need: _measured(tables[need]) for need in claim.NEEDS if need in tables}
        if len(measured) < len(claim.NEEDS) or any(map(_empty, measured.values())):
            outcome, sentence = "not measured", f"It needs runs with {', '.join(claim.NEEDS)}."
        else:
            outcome, sentence = claim.verdict(measured)
        found.append(Verdict(name, claim.CLAIM, outcome, sentence))
    return found


def _measured(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["status"] == "measured"] if "status" in frame else frame


def _empty(frame: pd.DataFrame) -> bool:
    return frame.empty


def trained_prompts(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of each run's last step, if that is not its start."""
    last = frame.groupby("run")["step"].transform("max")
    return frame[(frame["step"] == last) & (last > 0)]


def by_half(shares: pd.Series, words: str) -> tuple[Outcome, str]:
    """Supported if it holds in most prompts, contradicted if it does not, with the interval told.

    The interval is exact (Clopper & Pearson 1934), so fewer than six prompts never decide.

    Args:
        shares: one a prompt, between 0 and 1; it holds in those above one half.
        words: what holds, after "In k of n prompts ".

    Returns:
        The outcome, and the first sentence of the reason.
    """
    holds, n = int((shares > 0.5).sum()), len(shares)
    interval = binomtest(holds, n).proportion_ci(0.95, method="exact")
    told = f"In {holds} of {n} prompts {words} (95 % interval of the share of such prompts "
    told += f"{interval.low:.0%} to {interval.high:.0%})."
    if interval.low > 0.5:
        return "supported", told
    return ("contradicted" if interval.high < 0.5 else "insufficient evidence"), told
