"""Ratios of two configurations' training costs, paired by round, with an A/A control.

Times and memory of one round are measured minutes apart on a machine that may be disturbed in
between. A round therefore measures its first configuration twice, and a ratio is believed only
where the two copies agree.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from peftlens.numerics.mixed_model import LEVEL, crossed_estimate

MARGIN = 1.2  # ratio of times or memories from which on they differ in practice
_TOLERANCE = 1.01  # ratio of the control's copies that changes no decision


@dataclass(frozen=True)
class Ratio:
    """Geometric mean of a ratio over rounds, with its interval (Student's t of the logarithms).

    Attributes:
        value: geometric mean.
        low: lower end of the interval.
        high: upper end of the interval.
        n: number of rounds.
    """

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"

    @property
    def is_undisturbed(self) -> bool:
        """Whether a control's interval includes 1 and is narrower than the margin."""
        includes = self.low <= _TOLERANCE and self.high >= 1 / _TOLERANCE
        return includes and self.high / self.low <= MARGIN

    @property
    def is_equal(self) -> bool:
        """Whether the interval lies within the margin on both sides."""
        return self.low > 1 / MARGIN and self.high < MARGIN

    @property
    def is_different(self) -> bool:
        """Whether the interval lies beyond the margin."""
        return self.low > MARGIN or self.high < 1 / MARGIN


@dataclass(frozen=True)
class Point:
    """Costs at one number of rows and tokens.

    Attributes:
        tokens: number of tokens per step.
        name: rows and tokens per row, such as `8 x 64`.
        costs: rows of `training_cost`.
    """

    tokens: int
    name: str
    costs: pd.DataFrame

    @property
    def exact(self) -> pd.DataFrame:
        """Values that are the same in every round, by configuration; `held_bytes` is their sum."""
        first = self.costs[~self.costs["control"]].drop_duplicates("configuration")
        parts = first[["weight_bytes", "gradient_bytes", "optimizer_state_bytes"]]
        values = first[["configuration", "method", "trainable_parameters", "flops"]]
        return values.assign(held_bytes=parts.sum(axis=1)).set_index("configuration")

    def ratio(self, one: str, other: str, column: str, level: float = LEVEL) -> Ratio | None:
        """Compare a cost of two configurations; None with fewer than two rounds of both."""
        costs = self.costs[~self.costs["control"]]
        return _paired(costs[costs["configuration"] == one],
                       costs[costs["configuration"] == other], column, level)  # fmt: skip

    def control(self, column: str) -> Ratio | None:
        """Compare the second copy of a configuration with the first; None without one."""
        copies = self.costs[self.costs["control"]]
        firsts = self.costs[~self.costs["control"]]
        same = firsts["configuration"].isin(copies["configuration"])
        return _paired(copies, firsts[same], column, LEVEL)

    def disturbed(self, column: str) -> bool:
        """Whether the control is missing, differs from its original, or is too uncertain."""
        control = self.control(column)
        return control is None or not control.is_undisturbed


def points(costs: pd.DataFrame) -> Iterator[Point]:
    """Yield the points of a table `training_cost`, by tokens per step; none of what failed."""
    whole = costs.dropna(subset=["flops"])
    whole = whole.assign(control=whole["control"].astype(bool))
    for _, group in whole.groupby(["tokens", "rows", "length"], sort=True):
        first = group.iloc[0]
        yield Point(int(first["tokens"]), f"{first['rows']} x {first['length']}", group)


def simultaneous(comparisons: int, alpha: float = (1 - LEVEL) / 2) -> float:
    """Return the level of intervals that all hold together, at 95 % by default (Bonferroni).

    Args:
        comparisons: number of intervals.
        alpha: joint one-sided level.
    """
    return 1 - 2 * alpha / max(1, comparisons)


def _paired(ones: pd.DataFrame, others: pd.DataFrame, column: str, level: float) -> Ratio | None:
    one, other = (rows.set_index("round")[column].dropna().astype(float) for rows in (ones, others))
    logs = np.log((one / other).dropna().to_numpy())  # (rounds,)
    if len(logs) < 2:
        return None
    found = crossed_estimate(logs[None], level)
    assert found.low is not None and found.high is not None
    with np.errstate(over="ignore"):  # at a very strict level an end may be infinite
        value, low, high = np.exp([found.value, found.low, found.high])
    return Ratio(float(value), float(low), float(high), len(logs))
