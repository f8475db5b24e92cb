"""Claims, one file each; the file name is the claim's name.

A claim has CLAIM, the sentence that is tested; SOURCE, who says so; NEEDS, the tables that it reads,
of probes or `configurations`; TO_MEASURE, a study that would decide; and `verdict(tables)`. Its
rule and its thresholds stand in its docstring. ANALYSIS names the one of analyses/ whose verdict is
published in reports/. Where a study lacks the runs that would decide, it is not measured, and the
sentence says what would. A claim reads result tables only: no model, no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

import pandas as pd
from scipy.stats import binomtest

from peftlens import registry
from peftlens.io.escaping import visible
from peftlens.results.configurations import CONFIGURATIONS
from peftlens.results.table import last_steps, measured

Outcome = Literal["supported", "contradicted", "insufficient evidence", "not measured"]


@dataclass(frozen=True)
class Verdict:
    """What a study says of a claim.

    Attributes:
        claim: the claim's name.
        text: the claim itself, as it is made.
        source: who makes it.
        needs: the tables that decide.
        outcome: one of four words.
        sentence: the numbers, in English; of a claim that was not measured, why, and what would.
    """

    claim: str
    text: str
    source: str
    needs: tuple[str, ...]
    outcome: Outcome
    sentence: str

    def _repr_html_(self) -> str:
        text, sentence = (escape(visible(one)) for one in (self.text, self.sentence))
        return f"<p><strong>{self.outcome.capitalize()}:</strong> <q>{text}</q> {sentence}</p>"


def judge(tables: Mapping[str, pd.DataFrame]) -> list[Verdict]:
    """Every claim's verdict on a study's tables; `not measured` where a table is missing."""
    return [_judged(name, tables) for name in registry.names("claims")]


def _judged(name: str, tables: Mapping[str, pd.DataFrame]) -> Verdict:
    claim = registry.load("claims", name)
    known = {need: measured(tables[need]) for need in claim.NEEDS if need in tables}
    missing = [need for need in claim.NEEDS if need not in known or known[need].empty]
    if missing:
        outcome, sentence = "not measured", f"Nothing was measured by {', '.join(missing)}."
    else:
        outcome, sentence = claim.verdict(known)
    if outcome == "not measured":
        sentence = f"{sentence} To measure it, {claim.TO_MEASURE}."
    return Verdict(name, claim.CLAIM, claim.SOURCE, tuple(claim.NEEDS), outcome, sentence)


def trained_prompts(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of each run's last step, if that is not its start."""
    rows = last_steps(frame)
    return rows[rows["step"] > 0]


def hyperparameter(tables: Mapping[str, pd.DataFrame], name: str) -> pd.Series:
    """Values of a hyperparameter by configuration, as `rank_chart` names it; a list is one text.

    Args:
        tables: with `configurations`.
        name: such as "target_modules".
    """
    return _values(tables).reindex(columns=[name])[name]


def equal_but(tables: Mapping[str, pd.DataFrame], *names: str) -> pd.Series:
    """A number for each configuration: the same where all hyperparameters but some are equal.

    Args:
        tables: with `configurations`.
        names: the hyperparameters that may differ, beside the learning rate.
    """
    values = _values(tables)
    others = [*values.columns.difference([*names, "configuration", "learning_rate"])]
    return values.groupby(others, dropna=False).ngroup()


def _values(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    return tables[CONFIGURATIONS].drop_duplicates("sweep").set_index("sweep")


def pair(frame: pd.DataFrame, one: str, other: str) -> tuple[float, float, float] | None:
    """Difference of accuracies with its interval; None where there is none.

    Args:
        frame: the table of `paired_accuracy`.
        one: a configuration.
        other: what it is compared with.
    """
    rows = frame[(frame["configuration"] == one) & (frame["other"] == other)]
    rows = rows.dropna(subset=["difference", "difference_ci_low"])
    if rows.empty:
        return None
    row = rows.iloc[0]
    return (
        float(row["difference"]),
        float(row["difference_ci_low"]),
        float(row["difference_ci_high"]),
    )


def counted(row: Mapping[Any, Any] | pd.Series) -> str:
    """How many seeds and examples a row of `rank_chart` rests on."""
    return f"{seeds(row['n_seeds'])}, {row['n_items']} examples"


def seeds(n: int) -> str:
    """Such as `1 seed`."""
    return f"{n} seed{'' if n == 1 else 's'}"


def difference_text(value: float, low: float | None, high: float | None) -> str:
    """A difference of accuracies with its interval, in points."""
    ends = "" if pd.isna(low) else f", {100 * float(low):+.1f} to {100 * float(high):+.1f}"  # pyright: ignore[reportArgumentType]
    return f"{100 * value:+.1f} points{ends}"


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
    sentence = f"In {holds} of {n} prompts {words} (95 % interval of the share of such prompts "
    sentence += f"{interval.low:.0%} to {interval.high:.0%})."
    if interval.low > 0.5:
        return "supported", sentence
    return ("contradicted" if interval.high < 0.5 else "insufficient evidence"), sentence
