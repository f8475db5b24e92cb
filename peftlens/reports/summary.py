"""What a study found, in a few sentences, each with its numbers."""

from collections.abc import Hashable, Iterator
from typing import Any

import pandas as pd

from peftlens.results.table import Table, last_steps


def sentences(tables: dict[str, Table]) -> Iterator[str]:
    """Accuracy against the untrained base, rank, forgetting; silent on what was not measured."""
    if "task_accuracy" in tables:
        yield from _accuracy(tables["task_accuracy"].frame.dropna(subset="accuracy"))
    if "rank_chart" in tables:
        yield from _saturated(tables["rank_chart"].frame)
    if "forgetting" in tables:
        yield from _forgotten(tables["forgetting"].frame)
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
            f"{best['configuration']} answers {_share(best)} of {best['n_items']} test examples "
            f"right, the most of the trained configurations{_overlap(best, others)}."
        )
    for row in rows:
        if row["method"] == "frozen":
            yield f"The untrained base model answers {_share(row)} of them right."


def _imported(frame: pd.DataFrame) -> Iterator[str]:
    if frame.empty:
        return
    best = frame.sort_values("accuracy", kind="stable").iloc[-1]
    tied = int(frame["tied"].sum()) - 1
    yield (
        f"{best['configuration']} answers {best['accuracy']:.1%} of {best['n_items']:,} test "
        f"questions right ({best['ci_low']:.1%} to {best['ci_high']:.1%}), the most of {len(frame)} "
        f"experiments; {tied} others can't be told from it by Fisher's test."
    )


def _overlap(best: dict[Hashable, Any], others: list[dict[Hashable, Any]]) -> str:
    """Nothing where there are no others, or too few test examples for intervals."""
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
    """Where a method's accuracy stops growing; for methods with more than one size."""
    for method, rows in frame.groupby("method", sort=False):
        if rows["trainable_parameters"].nunique() > 1:
            first = rows[rows["is_saturation_point"].astype(bool)].iloc[0]
            yield (
                f"Of {len(rows)} configurations of {method}, each at its best rate, the smallest "
                f"that comes within the margin of the best is {first['configuration']} "
                f"({first['accuracy']:.0%}, {first['trainable_parameters']:,} parameters)."
            )


def _sequence(frame: pd.DataFrame) -> Iterator[str]:
    rows = frame[(frame["measure"] == "F") & ~frame["regime"].eq("swapped")].sort_values("value")
    if len(rows) == 1:
        only = rows.iloc[0]
        yield (
            f"Trained on task after task, {only['configuration']} lost {_fall(only)} of the earlier ones."
        )
    elif len(rows):
        least, most = rows.iloc[0], rows.iloc[-1]
        yield (
            f"Trained on task after task, {least['configuration']} lost least of the earlier ones "
            f"({_fall(least)}) and {most['configuration']} most ({_fall(most)})."
        )


def _fall(row: Any) -> str:
    points = f"{100 * row['value']:.0f} points"
    if pd.isna(row["ci_low"]):
        return points
    return f"{points}, {100 * row['ci_low']:.0f} to {100 * row['ci_high']:.0f}"


def _forgotten(frame: pd.DataFrame) -> Iterator[str]:
    rows = last_steps(frame[frame["method"] != "frozen"].dropna(subset="ci_low"))
    if rows.empty:
        return
    worse = rows[rows["ci_low"] > 0].sort_values("forgetting")
    yield (
        f"The loss on general text rose in {worse['run'].nunique()} of "
        f"{rows['run'].nunique()} trained runs, "
        "counting those whose 95 % interval lies above zero."
    )
    if len(worse):
        most = worse.iloc[-1]
        yield (
            f"Most was forgotten by {most['configuration']}: {most['forgetting']:+.2f} nats per "
            f"token ({most['ci_low']:+.2f} to {most['ci_high']:+.2f})."
        )
