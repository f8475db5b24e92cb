"""Cheapest configuration within a margin of the best one, by the paired intervals of accuracy."""

from collections.abc import Iterator

import pandas as pd

from peftlens.numerics.counts import counted
from peftlens.reports.card import Card
from peftlens.reports.cells import compact, three_digits
from peftlens.reports.scores import UNTRAINED_METHODS
from peftlens.results.display_names import display_name
from peftlens.results.study_results import StudyResults

MARGIN = 0.01  # of accuracy, where the table does not name its own


def cheapest(one: StudyResults, frame: pd.DataFrame) -> Iterator[Card]:
    """Yield the trained configuration of fewest parameters that is as good as the best one.

    Args:
        one: results of the study.
        frame: its scores and costs; see `scores.scores`.
    """
    trained = frame[~frame["method"].isin(UNTRAINED_METHODS)]
    if trained["configuration"].nunique() < 2 or "accuracy" not in {*trained["metric"]}:
        return
    if needed := [name for name in ("rank_chart", "paired_accuracy") if name not in one.tables]:
        probes = f"probe{'s' if len(needed) > 1 else ''} {' and '.join(needed)}"
        yield Card(
            "Fewest parameters within the margin", "", "", (f"Add the {probes} to find it.",)
        )
        return
    chart = one.tables["rank_chart"].frame
    chart = chart[chart["method"] != "frozen"].dropna(subset="accuracy")
    if len(chart) < 2:
        return
    best = chart.iloc[int(chart["accuracy"].astype(float).to_numpy().argmax())]
    margin = float(one.tables["rank_chart"].config.get("margin", MARGIN))
    others = _compared(chart, one.tables["paired_accuracy"].frame, best)
    points = f"{100 * margin:g} {'point' if margin == 0.01 else 'points'}"
    yield _card(f"Fewest parameters within {points}", best, others, margin)


def _compared(chart: pd.DataFrame, pairs: pd.DataFrame, best: pd.Series) -> pd.DataFrame:
    """Return the smaller configurations with their difference from the best, smallest first.

    The difference of configurations with other seeds than the best is missing.
    """
    pairs = pairs[pairs["other"] == best["configuration"]]
    columns = ["configuration", "difference", "difference_ci_low", "difference_ci_high"]
    smaller = chart[chart["trainable_parameters"] < best["trainable_parameters"]]
    both = smaller.merge(pairs[columns], on="configuration", how="left")
    return both.sort_values("trainable_parameters", kind="stable")


def _card(title: str, best: pd.Series, others: pd.DataFrame, margin: float) -> Card:
    within = others["difference_ci_low"].gt(-margin).fillna(False).astype(bool)
    worse = others["difference_ci_high"].le(-margin).fillna(False).astype(bool)
    undecided = others[~within & ~worse]
    if within.any():
        row = others[within].iloc[0]
        smaller = int((undecided["trainable_parameters"] < row["trainable_parameters"]).sum())
        details = [f"{_cost(row)}; {_difference(row)} from {display_name(best['configuration'])}."]
        details += [f"{counted(smaller, 'smaller one')} undecided."] if smaller else []
        return Card(title, display_name(row["configuration"]), "", tuple(details), "results")
    if undecided.empty:
        reason = "each smaller one is worse" if len(others) else "none is smaller"
        details = (f"{_cost(best)}; {reason}.",)
        return Card(title, display_name(best["configuration"]), "", details, "results")
    row, n = undecided.iloc[0], len(undecided)
    details = (
        f"{counted(n, 'smaller one')} may or may not be as accurate. The smallest: "
        f"{display_name(row['configuration'])}, {_difference(row)}.",
    )
    return Card(title, "Undecided", "", details, "results")


def _cost(row: pd.Series) -> str:
    size = float(row["adapter_bytes"])
    unit, one = ("MB", 1e6) if size >= 1e5 else ("kB", 1e3)
    parameters = compact(row["trainable_parameters"])
    return f"{parameters} trained parameters, {three_digits(size / one)} {unit}"


def _difference(row: pd.Series) -> str:
    if pd.isna(row["difference_ci_low"]):
        return "whose seeds differ from the best one's"
    names = ("difference", "difference_ci_low", "difference_ci_high")
    value, low, high = (100 * float(row[name]) for name in names)
    ends = (f"{end:+z.1f}" for end in (low, high))
    return f"{value:+z.1f} points ({' to '.join(ends)})"
