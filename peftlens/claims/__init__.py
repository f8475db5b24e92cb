"""Claims about PEFT, one per file, judged by the result tables of a study.

The file name is the claim's name. A claim module has CLAIM, the tested sentence; SOURCE, its
citation; NEEDS, the names of the tables it reads (probes or `configurations`); TO_MEASURE, a study
that would decide it; CRITERION, a clause that says when it holds, with the margin; PRACTICE, what
to do if it is supported, and if it is contradicted; and `verdict(tables, alpha)`, with the
one-sided level of its tests, which claims on exact numbers leave out. It returns a `Judgment`:
outcome, sentence, and the comparisons that it rests on, by which the size of a study that decides
is planned; a pair of outcome and sentence is a judgment without comparisons. Its docstring states
the decision rule and the thresholds at the default level. ANALYSIS names the analysis whose
studies, analyses/studies/ANALYSIS_*.toml, are published in reports/. A claim is "not measured" if
the study lacks the necessary runs; its sentence then names them. A claim reads result tables only:
no model, no torch. Runs trained on shuffled labels are controls, which only a claim with
CONTROLS = True gets to see.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from html import escape
from inspect import signature
from typing import Any, NamedTuple

import pandas as pd
from scipy.stats import binomtest

from peftlens import registry
from peftlens.io.escaping import visible
from peftlens.numerics import counts
from peftlens.numerics.mixed_model import Estimate
from peftlens.results.comparisons import (
    LIKELY,
    Comparison,
    Margins,
    Outcome,
    all_hold,
    size_text,
)
from peftlens.results.configurations import CONFIGURATIONS
from peftlens.results.estimate_columns import estimate_of
from peftlens.results.sequential import RACED_RATES
from peftlens.results.table import last_steps, measured

ONE_SIDED = 0.025  # level of a one-sided test, which agrees with a 95 % interval


class Judgment(NamedTuple):
    """Result of a claim's rule.

    Attributes:
        outcome: one of the four outcomes.
        sentence: the numbers in plain English.
        comparisons: comparisons that the outcome rests on; empty if no study can be planned by
            them, as for exact numbers.
    """

    outcome: Outcome
    sentence: str
    comparisons: tuple[Comparison, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """Verdict of a study on a claim.

    Attributes:
        claim: name of the claim.
        text: wording of the claim.
        source: citation of the claim.
        needs: names of the tables that decide it.
        outcome: one of the four outcomes.
        sentence: the numbers in plain English; for a claim that was not measured, the reason and
            a study that would measure it; for one that is not supported, the size of a study with
            power 0.8, if that is known.
        comparisons: comparisons that the verdict rests on.
        practice: what to do about it on such a model and task; empty for an undecided claim.
        criterion: when the claim holds, as a clause.
    """

    claim: str
    text: str
    source: str
    needs: tuple[str, ...]
    outcome: Outcome
    sentence: str
    comparisons: tuple[Comparison, ...] = ()
    practice: str = ""
    criterion: str = ""

    def _repr_html_(self) -> str:
        text, sentence = (escape(visible(part)) for part in (self.text, self.sentence))
        return f"<p><strong>{self.outcome.capitalize()}:</strong> <q>{text}</q> {sentence}</p>"


def judge(
    tables: Mapping[str, pd.DataFrame],
    alpha: float = ONE_SIDED,
    names: Iterable[str] | None = None,
) -> list[Verdict]:
    """Judge claims by a study's tables; `not measured` where a table is missing.

    Args:
        tables: result tables of a study, by name.
        alpha: one-sided level of each claim's tests. Tests of equivalence are at twice the level,
            as an interval of 90 % goes with one of 95 %. The intervals in the sentences are always
            those of 95 %.
        names: names of the claims; all by default.

    Raises:
        InputError: there is no such claim; the message names the nearest.
    """
    chosen = registry.names("claims") if names is None else names
    return [_judge_claim(name, tables, alpha) for name in chosen]


def _judge_claim(name: str, tables: Mapping[str, pd.DataFrame], alpha: float) -> Verdict:
    registry.check("claims", name)
    claim = registry.load("claims", name)
    inputs = {need: measured(tables[need]) for need in claim.NEEDS if need in tables}
    if RACED_RATES in tables:
        inputs[RACED_RATES] = tables[RACED_RATES]
    if not getattr(claim, "CONTROLS", False):
        shuffled = controls(tables)
        inputs = {need: _without(frame, shuffled) for need, frame in inputs.items()}
    missing = [need for need in claim.NEEDS if need not in inputs or inputs[need].empty]
    if missing:
        found = Judgment("not measured", f"Nothing was measured by {', '.join(missing)}.")
    else:
        level = {"alpha": alpha} if "alpha" in signature(claim.verdict).parameters else {}
        found = Judgment(*claim.verdict(inputs, **level))
    about = name, claim.CLAIM, claim.SOURCE, tuple(claim.NEEDS)
    sentence, practice = _sentence(found, claim, alpha), claim.PRACTICE.get(found.outcome, "")
    return Verdict(*about, found.outcome, sentence, found.comparisons, practice, claim.CRITERION)


def _sentence(found: Judgment, claim: Any, alpha: float) -> str:
    """Add to a sentence the study that would measure or decide the claim."""
    if found.outcome == "not measured":
        return f"{found.sentence} To measure it, {claim.TO_MEASURE}."
    size = size_text(found.outcome, found.comparisons, alpha)
    return f"{found.sentence} {size}".rstrip()


def controls(tables: Mapping[str, pd.DataFrame]) -> set[str]:
    """Return the names of the configurations that were trained on shuffled labels."""
    frame = tables.get(CONFIGURATIONS)
    if frame is None or "shuffle_labels" not in frame:
        return set()
    shuffled = frame[frame["shuffle_labels"].eq(True).fillna(False).astype(bool)]
    return {*shuffled["configuration"], *shuffled["sweep"]}


def _without(frame: pd.DataFrame, names: set[str]) -> pd.DataFrame:
    """Drop the rows that name one of some configurations."""
    columns = frame.columns.intersection(["configuration", "sweep", "other", "other_configuration"])
    return frame[~frame[columns].isin(names).any(axis=1)] if names else frame


def trained_prompts(frame: pd.DataFrame) -> pd.DataFrame:
    """Select the rows of each run's last step, without runs whose last step is step 0."""
    rows = last_steps(frame)
    return rows[rows["step"] > 0]


def hyperparameter(tables: Mapping[str, pd.DataFrame], name: str) -> pd.Series:
    """Return a hyperparameter's value per configuration, indexed by the names of `rank_chart`.

    A list is one comma-separated string.

    Args:
        tables: result tables, including `configurations`.
        name: name of the hyperparameter, such as "target_modules".
    """
    return _values(tables).reindex(columns=[name])[name]


def equal_but(tables: Mapping[str, pd.DataFrame], *names: str) -> pd.Series:
    """Number the groups of configurations that differ in some hyperparameters only.

    Args:
        tables: result tables, including `configurations`.
        names: names of the hyperparameters that may differ, in addition to the learning rate.

    Returns:
        Group number per configuration.
    """
    values = _values(tables)
    others = [*values.columns.difference([*names, "configuration", "learning_rate"])]
    return values.groupby(others, dropna=False).ngroup()


def _values(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    return tables[CONFIGURATIONS].drop_duplicates("sweep").set_index("sweep")


def pair(frame: pd.DataFrame, one: str, other: str) -> Estimate | None:
    """Look up the difference of two configurations' accuracies, if it and its interval exist.

    Args:
        frame: table of `paired_accuracy`.
        one: name of a configuration.
        other: name of the configuration it is compared with.
    """
    row = _pair_row(frame, one, other)
    return None if row is None else estimate_of(row, "difference")


def _pair_row(frame: pd.DataFrame, one: str, other: str) -> dict[Any, Any] | None:
    rows = frame[(frame["configuration"] == one) & (frame["other"] == other)]
    rows = rows.dropna(subset=["difference", "difference_ci_low"])
    return None if rows.empty else rows.iloc[0].to_dict()


def paired(  # noqa: PLR0913  # two names, two margins and an effect
    frame: pd.DataFrame,
    one: str,
    other: str,
    *,
    low: float | None = None,
    high: float | None = None,
    effect: float = 0.0,
) -> Comparison | None:
    """Compare the difference of two configurations' accuracies with margins, if it is known.

    Args:
        frame: table of `paired_accuracy`.
        one: name of a configuration.
        other: name of the configuration it is compared with.
        low: margin above which the claim holds.
        high: margin below which the claim holds.
        effect: true difference at which a study should decide.
    """
    row = _pair_row(frame, one, other)
    if row is None:
        return None
    return Comparison(
        what=f"{one} against {other}",
        estimate=estimate_of(row, "difference"),
        low=low,
        high=high,
        effect=effect,
        n_seeds=int(row["n_seeds"]),
        n_items=int(row["n_items"]),
        configurations=(one, other),
    )


def family(method: str) -> str | None:
    """Return the family of a method; None if its package is no longer installed."""
    if method not in registry.names("methods"):
        return None
    return registry.describe("methods", method).constants.get("FAMILY")


def paired_with(
    frame: pd.DataFrame,
    best: pd.Series,
    others: pd.DataFrame,
    key: str,
    margins: Callable[[int], Margins],
) -> dict[int, Comparison]:
    """Compare several configurations with one, indexed by a number of theirs.

    Args:
        frame: table of `paired_accuracy`.
        best: row of `rank_chart` of the one.
        others: rows of the others; those that are not paired with it are left out.
        key: column with the number, such as the rank.
        margins: margins and effect for a number, as the keywords of `paired`.
    """
    found = {
        int(row[key]): paired(
            frame, row["configuration"], best["configuration"], **margins(int(row[key]))
        )
        for row in others.to_dict("records")
    }
    return {number: one for number, one in found.items() if one is not None}


def power_text(estimates: Iterable[Estimate]) -> str:
    """Say which difference of accuracies every one of several tests would have seen."""
    seen = max(one.detectable() or float("nan") for one in estimates)
    return f"a difference of {100 * seen:.1f} points would be seen with power 0.8"


def counted(row: Mapping[Any, Any] | pd.Series) -> str:
    """Format the numbers of seeds and examples of a row of `rank_chart`."""
    return f"{seeds(row['n_seeds'])}, {counts.counted(row['n_items'], 'example')}"


def seeds(n: int) -> str:
    """Format a number of seeds, such as `1 seed`."""
    return counts.counted(n, "seed")


def difference_text(difference: Estimate) -> str:
    """Format a difference of accuracies with its interval, in percentage points; zero is +0.0."""
    text = f"{100 * difference.value:+z.1f} points"
    if difference.low is None or difference.high is None:
        return text
    return f"{text}, {100 * difference.low:+z.1f} to {100 * difference.high:+z.1f}"


def outcome_of(holds: bool | None) -> Outcome:
    """Name the outcome of a claim that holds, does not hold, or is open (None)."""
    if holds is None:
        return "insufficient evidence"
    return "supported" if holds else "contradicted"


def without_power(
    sentence: str, power: float, least: float, share: tuple[Comparison, ...]
) -> Judgment:
    """Leave a claim open whose test would miss the effect in each prompt, and say so.

    Args:
        sentence: the numbers, with the power.
        power: power of the test in a prompt; NaN if unknown.
        least: power without which nothing found shows nothing.
        share: comparison of the share of prompts.
    """
    if power < least:
        sentence += " More prompts do not raise this power: it is that of the model's vocabulary."
    return Judgment("insufficient evidence", sentence, share)


def by_half(shares: pd.Series, words: str, alpha: float = ONE_SIDED) -> Judgment:
    """Judge whether a property holds in most prompts, by the 95 % interval of the share of prompts.

    The interval is exact (Clopper & Pearson 1934), so fewer than six prompts never decide.

    Args:
        shares: share of vectors with the property per prompt, 0 to 1; above one half it holds.
        words: the property, as the continuation of "In k of n prompts ".
        alpha: one-sided level.

    Returns:
        Outcome, the first sentence of the reason, and the share of prompts.
    """
    holds, n = int((shares > 0.5).sum()), len(shares)
    interval = binomtest(holds, n).proportion_ci(0.95, method="exact")
    one = Comparison(
        what="share of prompts",
        estimate=Estimate(holds / n, float(interval.low), float(interval.high)),
        low=0.5,
        effect=LIKELY,
        n_seeds=n,
        noun="run",
        kind="share",
    )
    return Judgment(
        outcome_of(all_hold([one], alpha)),
        f"In {holds} of {n} prompts {words} (95 % interval of the share of such prompts "
        f"{interval.low:.0%} to {interval.high:.0%}).",
        (one,),
    )
