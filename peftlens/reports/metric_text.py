"""Text of a metric's value: with unit and interval, and with the number of seeds and examples."""

import pandas as pd

from peftlens.numerics.counts import counted
from peftlens.numerics.rounding import number
from peftlens.reports.cells import Head, head_of, short
from peftlens.results.display_names import SEQUENCE, metric_name
from peftlens.results.table import Column

# a base in four bits makes this larger, and a process smaller
_COLUMNS = {"peak memory bytes": "peak_memory_above_the_base_bytes"}


def column_of_metric(rows: pd.DataFrame) -> Column:
    """Describe the values of a metric.

    Args:
        rows: rows of one metric; see `scores.scores`.
    """
    metric, unit, better = (rows[name].iloc[0] for name in ("metric", "unit", "better"))
    meaning = "share of right answers" if metric in SEQUENCE else ""
    name = _COLUMNS.get(metric, metric_name(metric).replace(" ", "_"))
    return Column(name, meaning, unit or None, better)


def head_of_metric(rows: pd.DataFrame) -> Head:
    """Make the head of a metric's column.

    Args:
        rows: rows of one metric; see `scores.scores`.
    """
    return head_of(column_of_metric(rows), rows["mean"])


def value_text(row: pd.Series) -> str:
    """Write a row's value with its unit, such as 83 %."""
    head, (low, high) = _scaled(row)
    unit = head.unit
    if unit is None:
        return number(row["mean"])
    value = row["mean"] if head.is_count else unit.factor * float(row["mean"])
    text = short(head, value) if low is None else number(value, low, high)
    return f"{text} {unit.name or ''}".rstrip()


def with_interval(row: pd.Series) -> str:
    """Write a row's value with its unit and interval, such as 83 % (79 to 87)."""
    ends = _interval_text(row)
    return f"{value_text(row)} ({ends})" if ends else value_text(row)


def basis(row: pd.Series) -> str:
    """Write a value's interval and its numbers, such as `79 to 87 (95 %); 300 test examples`.

    Args:
        row: row of `scores.scores`.
    """
    counts = [(row["n_items"], _item(str(row["metric"]))), (row["n_seeds"], "seed")]
    over = ", ".join(counted(int(n), noun) for n, noun in counts if not pd.isna(n) and n)
    ends = _interval_text(row)
    return "; ".join(filter(None, (f"{ends} (95 %)" if ends else "", over)))


def _item(metric: str) -> str:
    if " on " in metric:  # of a retention suite: texts or questions
        return "item"
    return "validation example" if metric.startswith("validation") else "test example"


def _interval_text(row: pd.Series) -> str:
    _, (low, high) = _scaled(row)
    if low is None or high is None or low == high:
        return ""
    return f"{number(low, low, high)} to {number(high, low, high)}"


def _scaled(row: pd.Series) -> tuple[Head, tuple[float | None, float | None]]:
    """Return the head for a row alone, and the ends of its interval in the head's unit."""
    head = head_of_metric(row.to_frame().T)
    if head.unit is None or pd.isna(row["ci_low"]) or pd.isna(row["ci_high"]):
        return head, (None, None)
    return head, (head.unit.factor * row["ci_low"], head.unit.factor * row["ci_high"])
