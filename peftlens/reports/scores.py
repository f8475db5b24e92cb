"""Scores and costs of each configuration: of the benchmark table, and of the runs' own records.

A run that no probe has measured has the validation scores of its training.
"""

from collections.abc import Iterator

import pandas as pd

from peftlens.errors import InputError
from peftlens.export.benchmark_table import COLUMNS, benchmark_table
from peftlens.numerics.resampling import Interval, few_interval, share_interval
from peftlens.results.study_results import StudyResults
from peftlens.results.table import measured
from peftlens.results.untrained import UNTRAINED
from peftlens.runs.trained_model import TrainedModel

UNTRAINED_METHODS = ("frozen", "majority")
# the score of a study is the first of these that was measured
MAIN = ("accuracy", "entity f1", "spearman", "ACC", "validation accuracy", "validation entity f1",
        "validation spearman", "loss", "validation loss")  # fmt: skip
_OF_HEADS = ("entity_f1", "spearman")  # columns of task_accuracy beside accuracy
_LOSSES = ("loss", "validation loss", "validation label loss")
_COUNTED = "trainable parameters"


def scores(one: StudyResults) -> pd.DataFrame:
    """Return a row for each configuration, task and metric, in the form of the benchmark table.

    Args:
        one: results of a study or of runs.
    """
    try:
        frame = benchmark_table(one)
    except InputError:  # nothing was measured yet
        frame = pd.DataFrame(columns=list(COLUMNS))
    rows = [*_of_heads(one)]
    present = {*frame["metric"], *(row["metric"] for row in rows)}
    if len(one.runs) == 1 or not present & {*MAIN[:4]}:
        rows += [row for row in _recorded(one) if row["metric"] not in present]
        rows += _untrained(one)
    added = pd.DataFrame(rows, columns=list(COLUMNS))
    return added if frame.empty else pd.concat([frame, added]) if len(added) else frame


def main_metric(frame: pd.DataFrame) -> str | None:
    """Return the metric by which configurations are ordered; None if there is no score.

    Args:
        frame: rows of `scores`.
    """
    present = {*frame[~frame["method"].isin(UNTRAINED_METHODS)]["metric"]}
    return next((one for one in MAIN if one in present), None)


def best_row(frame: pd.DataFrame, metric: str) -> pd.Series:
    """Return the row of the trained configuration with the best value of a metric.

    Args:
        frame: rows of `scores`, some of them of this metric and trained.
        metric: name of the metric.
    """
    rows = frame[(frame["metric"] == metric) & ~frame["method"].isin(UNTRAINED_METHODS)]
    ordered = rows.assign(mean=rows["mean"].astype(float)).sort_values("mean", kind="stable")
    return ordered.iloc[0 if ordered["better"].iloc[0] == "lower" else -1]


def _of_heads(one: StudyResults) -> Iterator[dict]:
    """Yield the scores of tags and numbers, which have no accuracy of single examples."""
    if "task_accuracy" not in one.tables:
        return
    frame = measured(one.tables["task_accuracy"].frame)
    tasks = [*dict.fromkeys(run.config.task for run in one.runs)]
    for column in _OF_HEADS:
        for row in frame.dropna(subset=column).to_dict("records") if column in frame else ():
            yield dict.fromkeys(COLUMNS) | {
                "configuration": row["configuration"],
                "method": row["method"],
                "task": tasks[0] if len(tasks) == 1 else "",
                "metric": column.replace("_", " "),
                "unit": "",
                "better": "higher",
                "mean": row[column],
                "n_seeds": row["n_seeds"],
                "n_items": row["n_items"],
                "best": False,
            }


def _recorded(one: StudyResults) -> Iterator[dict]:
    """Yield the validation scores and sizes in the runs' records, means over seeds."""
    groups: dict[str, list[TrainedModel]] = {}
    for run in one.runs:
        groups.setdefault(one.configurations[run.id], []).append(run)
    for name, runs in groups.items():
        results = [run.record.results for run in runs]
        for key in dict.fromkeys(key for values in results for key in values):
            values = [some[key] for some in results if isinstance(some.get(key), int | float)]
            if values and key.startswith(("validation_", "trainable_parameters")):
                yield _row(name, runs, key, values)


def _row(name: str, runs: list[TrainedModel], key: str, values: list[float]) -> dict:
    metric = key.replace("_", " ")
    results = runs[0].record.results
    n_items = results.get("examples", {}).get("validation")
    seeds = sorted({run.config.seed for run in runs})
    over = _interval(key, values, n_items if "validation_entity_f1" not in results else None)
    return dict.fromkeys(COLUMNS) | {
        "configuration": name,
        "method": runs[0].config.method,
        "task": runs[0].config.task,
        "metric": metric,
        "unit": _unit(metric, "validation_spearman" in results),
        "better": "lower" if metric in (*_LOSSES, _COUNTED) else "higher",
        "mean": sum(values) / len(values),
        "ci_low": over.low,
        "ci_high": over.high,
        "n_seeds": len(seeds),
        "n_items": n_items,
        "seeds": " ".join(map(str, seeds)),
        "best": False,
    }


def _interval(key: str, values: list[float], n_items: int | None) -> Interval:
    """Return the interval over seeds; of one accuracy, that over its examples."""
    if len(values) > 1 and key.startswith("validation_"):
        return few_interval(values)
    if key == "validation_accuracy" and n_items:
        return share_interval(round(values[0] * n_items), n_items)
    return Interval(None, None)


def _unit(metric: str, is_number: bool) -> str:
    if metric in _LOSSES:
        return "squared error" if is_number else "nats per token"
    return "1" if metric in ("validation accuracy", _COUNTED) else ""


def _untrained(one: StudyResults) -> Iterator[dict]:
    """Yield the scores of the base on the validation examples of a run that is alone."""
    if UNTRAINED not in one.tables or len(one.runs) != 1:
        return
    (run,) = one.runs
    for row in one.tables[UNTRAINED].frame.to_dict("records"):
        trained = _row("frozen", [run], row["score"], [row["value"]])
        yield trained | {"method": "frozen", "n_seeds": None, "seeds": ""}
