"""Headline figures of a study: best score, cheapest equal configuration, forgetting, verdicts.

A figure whose probe was not measured says which probe would give it.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import pandas as pd

from peftlens.claims import Outcome, Verdict
from peftlens.numerics.continual_metrics import ONE
from peftlens.numerics.counts import counted
from peftlens.reports.card import Card
from peftlens.reports.cells import compact
from peftlens.reports.cheapest import cheapest
from peftlens.reports.metric_text import basis, value_text, with_interval
from peftlens.reports.scores import UNTRAINED_METHODS, best_row, main_metric
from peftlens.results.configurations import CONFIGURATIONS
from peftlens.results.display_names import display_name, metric_name
from peftlens.results.study_results import StudyResults

_CHANGES = ("forgetting on ", "accuracy change on ", "F")  # metrics of forgetting, best first
_WORDS: dict[Outcome, str] = {
    "supported": "supported",
    "contradicted": "contradicted",
    "insufficient evidence": "undecided",
}


def cards(one: StudyResults, frame: pd.DataFrame) -> Iterator[Card]:
    """Yield the headline figures on scores and costs.

    Args:
        one: results of the study.
        frame: its scores and costs; see `scores.scores`.
    """
    metric = main_metric(frame)
    if metric is None:
        if one.runs:
            yield Card("Score", "", details=("The probe task_accuracy measures it.",))
    else:
        yield _best(frame, metric)
        yield from _loss(frame, metric)
        yield from cheapest(one, frame)
        yield from _forgotten(one, frame, str(best_row(frame, metric)["configuration"]))
        yield from _size(one, frame)


def _best(frame: pd.DataFrame, metric: str) -> Card:
    row = best_row(frame, metric)
    rows = frame[(frame["metric"] == metric) & (frame["task"] == row["task"])]
    n = _n_trained(rows)
    shown = metric_name(metric)
    title = f"Best {shown}" if n > 1 else shown[0].upper() + shown[1:]
    details = [f"{basis(row)}."]
    if frame["task"].nunique() > 1:
        details.append(f"Task: {row['task']}.")
    details += _beside(frame, rows, metric)
    if (rows["method"] == "majority").any():
        details.append(f"Most frequent class: {value_text(_first(rows, 'majority'))}.")
    name = display_name(row["configuration"]) if n > 1 else ""
    return Card(title, value_text(row), name, tuple(details), "results")


def _beside(frame: pd.DataFrame, rows: pd.DataFrame, metric: str) -> Iterator[str]:
    """Say what the untrained model scores, or how to measure it."""
    validation = frame[frame["metric"] == f"validation {metric}"]
    if (rows["method"] == "frozen").any():
        yield f"Before training: {with_interval(_first(rows, 'frozen'))}."
    elif (validation["method"] == "frozen").any():
        trained, base = best_row(frame, f"validation {metric}"), _first(validation, "frozen")
        yield f"On validation: {value_text(trained)}, before training {value_text(base)}."
    elif _n_trained(rows) > 1 and metric != "ACC" and not metric.startswith("validation"):
        yield 'Before training: add a run with method = "frozen".'


def _n_trained(rows: pd.DataFrame) -> int:
    return rows[~rows["method"].isin(UNTRAINED_METHODS)]["configuration"].nunique()


def _first(rows: pd.DataFrame, method: str) -> pd.Series:
    return rows[rows["method"] == method].iloc[0]


def _loss(frame: pd.DataFrame, metric: str) -> Iterator[Card]:
    """Yield the validation loss beside a score that is of validation, too."""
    if metric.startswith("validation") and metric != "validation loss":
        rows = frame[(frame["metric"] == "validation loss") & (frame["method"] != "majority")]
        if len(rows[rows["method"] != "frozen"]):
            yield _best(rows, "validation loss")


def _forgotten(one: StudyResults, frame: pd.DataFrame, best: str) -> Iterator[Card]:
    metric = _metric_of_forgetting(frame)
    if metric is None:
        if frame["metric"].eq("accuracy").any() and "imported" not in one.tables:
            yield Card("Forgotten", "", details=("The probe forgetting measures it.",))
        return
    if metric == "F" and frame["configuration"].str.endswith(f"({ONE})").any():
        # an adapter for each task forgets nothing, by construction
        frame = frame[frame["configuration"].str.endswith(f"({ONE})")]
        best = str(best_row(frame, "ACC")["configuration"])
    rows = frame[(frame["metric"] == metric) & (frame["method"] != "frozen")]
    of_best = rows[rows["configuration"].isin(_same(one, best))]
    if of_best.empty:
        return
    row, least = of_best.iloc[0], best_row(rows, metric)
    details = [f"{_meaning(metric)}: {basis(row)}."]
    for word, other in (("Least", least), ("Most", _worst(rows, metric))):
        if _signed(other) != _signed(row):
            number = _signed(other).partition(" ")[0]
            details.append(f"{word}: {display_name(other['configuration'])}, {number}.")
    title = "Forgetting of the best" if rows["configuration"].nunique() > 1 else "Forgotten"
    name = display_name(row["configuration"]) if len(rows) > 1 else ""
    yield Card(title, _signed(row), name, tuple(details), "results")


def _worst(rows: pd.DataFrame, metric: str) -> pd.Series:
    worst = best_row(rows.assign(mean=-rows["mean"].astype(float)), metric).copy()
    worst["mean"] = -worst["mean"]
    return worst


def _metric_of_forgetting(frame: pd.DataFrame) -> str | None:
    metrics = [*dict.fromkeys(frame["metric"])]
    found = [one for start in _CHANGES for one in metrics if one.startswith(start)]
    return next((one for one in found if one.startswith(_CHANGES[:2]) or one == "F"), None)


def _signed(row: pd.Series) -> str:
    text = value_text(row)
    return text if text.startswith("-") or float(row["mean"]) == 0 else f"+{text}"


def _meaning(metric: str) -> str:
    if metric == "F":
        return "Accuracy lost on earlier tasks"
    kind, _, suite = metric.partition(" on ")
    return f"{'Rise of the loss' if kind == 'forgetting' else 'Change of accuracy'} on {suite}"


def _same(one: StudyResults, name: str) -> Collection[str]:
    """Return the names of a configuration, with and without its learning rate."""
    if CONFIGURATIONS not in one.tables:
        return {name}
    names = one.tables[CONFIGURATIONS].frame[["configuration", "sweep"]].astype(str)
    rows = names[(names == name).any(axis=1)]
    return {name, *rows["configuration"], *rows["sweep"]}


def _size(one: StudyResults, frame: pd.DataFrame) -> Iterator[Card]:
    """Yield the size of a single run."""
    rows = frame[(frame["metric"] == "trainable parameters") & (frame["method"] != "frozen")]
    if len(one.runs) != 1 or rows.empty:
        return
    record: dict[str, Any] = one.runs[0].record.results
    n, base = int(rows["mean"].iloc[0]), record.get("base_parameters")
    share = (f"{100 * n / base:.3g} % of the model's {compact(base)}.",) if base else ()
    yield Card("Trained parameters", compact(n), "", share)


def verdict_cards(verdicts: Sequence[Verdict]) -> Iterator[Card]:
    """Yield the number of claims that were decided; nothing where none was measured."""
    outcomes = [one.outcome for one in verdicts]
    asked = len(outcomes) - outcomes.count("not measured")
    if not asked:
        return
    n = outcomes.count("supported") + outcomes.count("contradicted")
    parts = [f"{outcomes.count(one)} {word}" for one, word in _WORDS.items() if one in outcomes]
    others = len(outcomes) - asked
    rest = (f"{counted(others, 'other')} not measured.",) if others else ()
    details = (f"{', '.join(parts)}.", *rest)
    yield Card("Common claims decided", f"{n} of {asked} measured", "", details, "verdicts")
