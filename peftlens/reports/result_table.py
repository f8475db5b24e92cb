"""Result table: one row for each configuration, with all its scores and costs, the best first."""

from dataclasses import dataclass, replace

import pandas as pd

from peftlens.reports.cells import Cell, Grid, Head, cell
from peftlens.reports.metric_text import head_of_metric, with_interval
from peftlens.reports.scores import UNTRAINED_METHODS, best_row, main_metric
from peftlens.results.display_names import display_name, metric_name

_TESTED = ("accuracy", "loss")  # metrics on which configurations are compared by a paired test


@dataclass(frozen=True)
class ResultTable:
    """The result table.

    Attributes:
        grid: heads and rows.
        keys: names of the rows' configurations in the study's files.
        metric: name of the metric by which the rows are ordered.
        place: index of the column with this metric.
        descending: whether the largest value is first.
        finding: the best configuration, in a sentence.
    """

    grid: Grid
    keys: tuple[str, ...]
    metric: str
    place: int
    descending: bool
    finding: str

    @property
    def unit(self) -> str:
        """Unit of the metric, after a space; empty without one."""
        unit = self.grid.heads[self.place].unit
        return f" {unit.name}" if unit and unit.name else ""


def result_table(frame: pd.DataFrame) -> ResultTable | None:
    """Make the table; None if nothing was scored.

    Args:
        frame: scores and costs; see `scores.scores`.
    """
    metric = main_metric(frame)
    if metric is None:
        return None
    metrics = [metric, *(one for one in dict.fromkeys(frame["metric"]) if one != metric)]
    better = frame[frame["metric"] == metric]["better"].iloc[0]
    several = frame["task"].nunique() > 1
    groups = frame.groupby(["configuration", "task"], sort=False)
    rows = sorted(groups, key=lambda group: _place(group[1], metric, better))
    heads = (Head("configuration", "method and its options", None),
             *([Head("task", "task of the runs", None)] if several else []),
             *(_head(frame, one) for one in metrics),
             Head("seeds", "number of runs", is_count=True))  # fmt: skip
    cells = [
        (
            Cell(display_name(str(name))),
            *([Cell(str(task))] if several else []),
            *(_cell(rows_of, one, heads[1 + several + n]) for n, one in enumerate(metrics)),
            cell(heads[-1], rows_of["n_seeds"].max()),
        )
        for (name, task), rows_of in rows
    ]
    return ResultTable(
        Grid(heads, tuple(cells)),
        tuple(str(name) for (name, _), _ in rows),
        metric_name(metric),
        1 + several,
        better != "lower",
        _finding(frame, metric),
    )


def _place(rows: pd.DataFrame, metric: str, better: str) -> float:
    values = rows[rows["metric"] == metric]["mean"]
    if values.empty or pd.isna(values.iloc[0]):
        return float("inf")
    return float(values.iloc[0]) * (1 if better == "lower" else -1)


def _head(frame: pd.DataFrame, metric: str) -> Head:
    rows = frame[frame["metric"] == metric]
    items = rows["n_items"].dropna()
    over = f", over {int(items.max()):,} examples" if len(items) else ""
    meaning = f"mean over seeds{over}, with its 95 % interval where there is one"
    return replace(head_of_metric(rows), meaning=meaning)


def _cell(rows: pd.DataFrame, metric: str, head: Head) -> Cell:
    found = rows[rows["metric"] == metric]
    if found.empty:
        return Cell("–")
    row = found.iloc[0]
    made = cell(head, row["mean"], row["ci_low"], row["ci_high"])
    return replace(made, best=bool(row["best"]))


def _finding(frame: pd.DataFrame, metric: str) -> str:
    rows = frame[(frame["metric"] == metric) & ~frame["method"].isin(UNTRAINED_METHODS)]
    row, n = best_row(frame, metric), rows["configuration"].nunique()
    name, value = display_name(str(row["configuration"])), with_interval(row)
    if n == 1:
        return f"{name}: {metric_name(metric)} {value}."
    word = "lowest" if row["better"] == "lower" else "highest"
    sentence = f"{name} has the {word} {metric_name(metric)} of {n} trained configurations, {value}"
    if metric not in _TESTED:
        return f"{sentence}."
    several = "every other one" if row["best"] else "some of the others"
    others = several if n > 2 else "the other one"
    tell = "paired tests tell" if row["best"] else "paired tests do not tell"
    return f"{sentence}; {tell} it apart from {others}."
