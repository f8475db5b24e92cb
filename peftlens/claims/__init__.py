"""Claims about PEFT, one per file, judged by the result tables of a study.

The file name is the claim's name. A claim module has CLAIM, the tested sentence; SOURCE, its
citation; NEEDS, the names of the tables it reads (probes or `configurations`); TO_MEASURE, a study
that would decide it; and `verdict(tables, alpha)`, with the one-sided level of its tests, which
claims on exact numbers leave out. Its docstring states the decision rule and the thresholds at the
default level. ANALYSIS names the analysis in analyses/ whose verdict is published in reports/. A
claim is "not measured" if the study lacks the necessary runs; its sentence then names them. A claim
reads result tables only: no model, no torch. Runs trained on shuffled labels are controls, which
only a claim with CONTROLS = True gets to see.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from inspect import signature
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import binomtest, norm, poisson_binom

from peftlens import registry
from peftlens.io.escaping import visible
from peftlens.numerics import counts
from peftlens.numerics.mixed_model import POWER, Estimate, holm
from peftlens.results.configurations import CONFIGURATIONS
from peftlens.results.table import last_steps, measured

Outcome = Literal["supported", "contradicted", "insufficient evidence", "not measured"]
ONE_SIDED = 0.025  # level of a one-sided test, which agrees with a 95 % interval
_SUSPECT = 0.1  # p of a number of finds up to which they are no evidence of absence


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
            a study that would measure it.
    """

    claim: str
    text: str
    source: str
    needs: tuple[str, ...]
    outcome: Outcome
    sentence: str

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
    if not getattr(claim, "CONTROLS", False):
        controls = _controls(tables)
        inputs = {need: _without(frame, controls) for need, frame in inputs.items()}
    missing = [need for need in claim.NEEDS if need not in inputs or inputs[need].empty]
    if missing:
        outcome, sentence = "not measured", f"Nothing was measured by {', '.join(missing)}."
    else:
        level = {"alpha": alpha} if "alpha" in signature(claim.verdict).parameters else {}
        outcome, sentence = claim.verdict(inputs, **level)
    if outcome == "not measured":
        sentence = f"{sentence} To measure it, {claim.TO_MEASURE}."
    return Verdict(name, claim.CLAIM, claim.SOURCE, tuple(claim.NEEDS), outcome, sentence)


def _controls(tables: Mapping[str, pd.DataFrame]) -> set[str]:
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

    Tables of older versions have no standard error; then it is that of a normal distribution with
    the same interval.

    Args:
        frame: table of `paired_accuracy`.
        one: name of a configuration.
        other: name of the configuration it is compared with.
    """
    rows = frame[(frame["configuration"] == one) & (frame["other"] == other)]
    rows = rows.dropna(subset=["difference", "difference_ci_low"])
    if rows.empty:
        return None
    row = rows.iloc[0]
    low, high = float(row["difference_ci_low"]), float(row["difference_ci_high"])
    error = row.get("standard_error", (high - low) / (2 * norm.ppf(0.975)))
    freedom = row.get("degrees_of_freedom", float("inf"))
    return Estimate(
        value=float(row["difference"]),
        low=low,
        high=high,
        degrees_of_freedom=float(freedom),
        standard_error=float(error),
    )


def family(method: str) -> str | None:
    """Return the family of a method; None if its package is no longer installed."""
    if method not in registry.names("methods"):
        return None
    return registry.describe("methods", method).constants.get("FAMILY")


def differences_from(
    frame: pd.DataFrame, best: pd.Series, others: pd.DataFrame, key: str
) -> dict[int, Estimate]:
    """Look up the differences of several configurations from one, indexed by a number of theirs.

    Args:
        frame: table of `paired_accuracy`.
        best: row of `rank_chart` of the one.
        others: rows of the others; those that are not paired with it are left out.
        key: column with the number, such as the rank.
    """
    found = {
        int(row[key]): pair(frame, row["configuration"], best["configuration"])
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


def by_half(shares: pd.Series, words: str, alpha: float = ONE_SIDED) -> tuple[Outcome, str]:
    """Judge whether a property holds in most prompts, by the 95 % interval of the share of prompts.

    The interval is exact (Clopper & Pearson 1934), so fewer than six prompts never decide.

    Args:
        shares: share of vectors with the property per prompt, 0 to 1; above one half it holds.
        words: the property, as the continuation of "In k of n prompts ".
        alpha: one-sided level.

    Returns:
        Outcome, and the first sentence of the reason.
    """
    holds, n = int((shares > 0.5).sum()), len(shares)
    interval = binomtest(holds, n).proportion_ci(0.95, method="exact")
    sentence = f"In {holds} of {n} prompts {words} (95 % interval of the share of such prompts "
    sentence += f"{interval.low:.0%} to {interval.high:.0%})."
    above, below = (
        float(binomtest(holds, n, alternative=side).pvalue) for side in ("greater", "less")
    )
    if above <= alpha:
        return "supported", sentence
    return ("contradicted" if below <= alpha else "insufficient evidence"), sentence


@dataclass(frozen=True)
class Evidence:
    """Evidence on one method, as one-sided p-values.

    Attributes:
        holds: p of the statement that a property does not hold; small if it holds.
        fails: p of the statement that it holds; small if it does not.
    """

    holds: float
    fails: float


@dataclass(frozen=True)
class FoundRuns:
    """Runs of one method, each with a test of its own.

    Attributes:
        found: whether the test found something, a bool for each run; runs that share a seed are
            one, see `by_seed`.
        power: probability with which it would find the stated effect, for each run; NaN if unknown.
        chance: share of runs in which it would find something by chance.
    """

    found: pd.Series
    power: pd.Series
    chance: float

    def evidence(self) -> Evidence:
        """Compare the number of finds with chance, and with what the power promises.

        If every run had the stated effect, the number of finds would be a sum of draws with the
        runs' power: too few for it show that not every run has the effect. The power is counted up
        to 0.8, because a few dozen planted effects measure it. Unknown power shows nothing, nor do
        so many finds that chance gives them in one of ten studies at most.
        """
        finds, n = int(self.found.sum()), len(self.found)
        above = float(binomtest(finds, n, self.chance, "greater").pvalue)
        if self.power.isna().any() or above <= _SUSPECT:
            return Evidence(above, 1.0)
        power = self.power.clip(upper=POWER).to_numpy()
        return Evidence(above, float(poisson_binom(power).cdf(finds)))

    def __str__(self) -> str:
        return (
            f"{self.found.sum()} of {counted_runs(len(self.found))}, power "
            f"{self.power.mean(skipna=False):.2f}"
        )


def counted_runs(n: int) -> str:
    """Format a number of runs, such as `1 run`."""
    return counts.counted(n, "run")


def every_method(
    evidence: Mapping[str, Evidence],
    texts: Mapping[str, object],
    least: int = 1,
    alpha: float = ONE_SIDED,
) -> tuple[Outcome, str]:
    """Judge whether a property holds for every method, after Holm's correction.

    Supported if it holds for every method; contradicted if it fails for one.

    Args:
        evidence: evidence on each method.
        texts: numbers of each method, shown in parentheses.
        least: number of methods without which it is not supported.
        alpha: one-sided joint level.

    Returns:
        Outcome, and the methods by what was decided on each, as part of a sentence.
    """
    holds = holm([one.holds for one in evidence.values()]) <= alpha
    fails = (holm([one.fails for one in evidence.values()]) <= alpha) & ~holds
    names = np.array([f"{name} ({texts[name]})" for name in evidence])
    groups = {"yes": holds, "no": fails, "undecided": ~(holds | fails)}
    shown = [f"{word} for {', '.join(names[one])}" for word, one in groups.items() if one.any()]
    outcome: Outcome = "insufficient evidence"
    if fails.any():
        outcome = "contradicted"
    elif holds.all() and len(holds) >= least:
        outcome = "supported"
    return outcome, "; ".join(shown)


def by_seed(values: pd.Series, rows: pd.DataFrame) -> pd.Series:
    """Average a value of runs over the configurations of one method that share a seed.

    They have the same data in the same order, so that together they are one piece of evidence.

    Args:
        values: one per run, indexed by the run's id.
        rows: rows of these runs, with their seed, and in pooled tables their study.
    """
    runs = rows.drop_duplicates("run").set_index("run")
    keys = [runs[name] for name in ("study", "seed") if name in runs]
    return values.astype(float).groupby(keys).mean()


def mean_over_runs(values: ArrayLike) -> Estimate:
    """Estimate a mean over runs, by Student's t; without an interval for fewer than three runs.

    Args:
        values: one per run, shape (n,).
    """
    array = np.asarray(values, float)
    mean, n = float(array.mean()), len(array)
    if n < 3:
        return Estimate(mean)
    error = float(array.std(ddof=1) / np.sqrt(n))
    return Estimate(mean, degrees_of_freedom=n - 1, standard_error=error).at_level(0.95)
