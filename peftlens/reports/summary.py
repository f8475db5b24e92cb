"""Summary of a study's main results in a few sentences with numbers."""

from collections.abc import Hashable, Iterator
from typing import Any

import pandas as pd

from peftlens.results import majority_baseline
from peftlens.results.table import Table, last_steps


def sentences(tables: dict[str, Table]) -> Iterator[str]:
    """Yield sentences on accuracy, saturation, forgetting and continual learning, if measured."""
    if "task_accuracy" in tables:
        yield from _accuracy(tables["task_accuracy"].frame.dropna(subset="accuracy"))
    if "rank_chart" in tables:
        yield from _saturated(tables["rank_chart"].frame)
    if "forgetting" in tables:
        yield from _forgotten(tables["forgetting"].frame)
    if "linear_probes" in tables:
        yield from _probed(tables["linear_probes"].frame)
    if "continual" in tables:
        yield from _sequence(tables["continual"].frame)
    if "imported" in tables:
        yield from _imported(tables["imported"].frame.dropna(subset="accuracy"))


def _accuracy(frame: pd.DataFrame) -> Iterator[str]:
    rows = frame.to_dict("records")
    trained = [row for row in rows if row["method"] != "frozen"]
    if trained:
        best, *others = sorted(trained, key=lambda row: -row["accuracy"])
        yield (
            f"{best['configuration']} has the highest accuracy of the trained configurations, "
            f"{_share(best)} of {best['n_items']} test examples{_overlap(best, others)}."
        )
    for row in rows:
        if row["method"] == "frozen":
            yield f"The untrained base model has an accuracy of {_share(row)}."
    yield from majority_baseline.sentences(frame)


def _imported(frame: pd.DataFrame) -> Iterator[str]:
    if frame.empty:
        return
    best = frame.sort_values("accuracy", kind="stable").iloc[-1]
    tied = int(frame["tied"].sum()) - 1
    yield (
        f"{best['configuration']} has the highest accuracy of {len(frame)} experiments, "
        f"{best['accuracy']:.1%} of {best['n_items']:,} test questions ({best['ci_low']:.1%} to "
        f"{best['ci_high']:.1%}); {tied} others do not differ from it by Fisher's test."
    )


def _overlap(best: dict[Hashable, Any], others: list[dict[Hashable, Any]]) -> str:
    """Count the overlapping intervals; empty without others, or without intervals."""
    if not others or pd.isna(best["items_ci_low"]):
        return ""
    close = [row for row in others if row["items_ci_high"] >= best["items_ci_low"]]
    return f"; the intervals of {len(close)} of the other {len(others)} overlap with it"


def _share(row: dict[Hashable, Any]) -> str:
    share = f"{row['accuracy']:.0%}"
    if pd.isna(row["items_ci_low"]):
        return share
    return f"{share} (95 % interval {row['items_ci_low']:.0%} to {row['items_ci_high']:.0%})"


def _saturated(frame: pd.DataFrame) -> Iterator[str]:
    """Yield the upper bound of each method's saturation point, if it has more than one size."""
    for method, rows in frame.groupby("method", sort=False):
        if rows["trainable_parameters"].nunique() > 1:
            first = rows[rows["is_saturation_bound"].astype(bool)].iloc[0]
            smaller = rows[rows["trainable_parameters"] < first["trainable_parameters"]]
            open_ones = smaller[smaller["within_margin"] == "undecided"]["configuration"]
            still = f"; undecided: {', '.join(open_ones)}" if len(open_ones) else ""
            yield (
                f"Of {len(rows)} configurations of {method}, each at its best learning rate, the "
                f"accuracy saturates at {first['configuration']} at most ({first['accuracy']:.0%}, "
                f"{first['trainable_parameters']:,} parameters{still})."
            )


def _sequence(frame: pd.DataFrame) -> Iterator[str]:
    rows = frame[(frame["measure"] == "F") & ~frame["regime"].eq("swapped")].sort_values("value")
    if len(rows) == 1:
        only = rows.iloc[0]
        yield (
            f"Trained on one task after another, {only['configuration']} lost {_lost(only)} of "
            "accuracy on the earlier ones."
        )
    elif len(rows):
        least, most = rows.iloc[0], rows.iloc[-1]
        yield (
            f"Trained on one task after another, {least['configuration']} lost the least accuracy "
            f"on the earlier ones ({_lost(least)}) and {most['configuration']} the most "
            f"({_lost(most)})."
        )


def _lost(row: Any) -> str:
    points = f"{100 * row['value']:z.0f} points"
    if pd.isna(row["ci_low"]):
        return points
    return f"{points}, {100 * row['ci_low']:z.0f} to {100 * row['ci_high']:z.0f}"


def _forgotten(frame: pd.DataFrame) -> Iterator[str]:
    rows = last_steps(frame[frame["method"] != "frozen"].dropna(subset="ci_low"))
    if rows.empty:
        return
    worse = rows[rows["ci_low"] > 0].sort_values("forgetting")
    yield (
        f"The loss on general text increased in {worse['run'].nunique()} of "
        f"{rows['run'].nunique()} trained runs, "
        "counting those whose 95 % interval is above zero."
    )
    if len(worse):
        most = worse.iloc[-1]
        yield (
            f"The increase was largest for {most['configuration']}: {most['forgetting']:+z.2f} "
            f"nats per token ({most['ci_low']:+z.2f} to {most['ci_high']:+z.2f})."
        )


def _probed(frame: pd.DataFrame) -> Iterator[str]:
    rows = last_steps(frame[frame["method"] != "frozen"].dropna(subset="accuracy_ci_low"))
    if rows.empty:
        return
    worse = rows[rows["accuracy_ci_high"] < 0].sort_values("accuracy_change")
    yield (
        "Linear classifiers of the states lost accuracy on tasks that were not trained on in "
        f"{worse['run'].nunique()} of {rows['run'].nunique()} trained runs, counting those whose "
        "95 % interval is below zero."
    )
    if len(worse):
        most = worse.iloc[0]
        ends = (f"{100 * most[name]:+z.1f}" for name in ("accuracy_ci_low", "accuracy_ci_high"))
        yield (
            f"The loss was largest for {most['configuration']}, on {most['suite']}: "
            f"{100 * most['accuracy_change']:+z.1f} points ({' to '.join(ends)})."
        )
