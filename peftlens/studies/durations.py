"""Durations: expected times of a study's jobs, by a forecast of operations and the jobs that ended.

No result depends on them: they decide which job is begun first, and tell how long a study takes.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

_RATE = 2e10  # operations per second of one core, in place of a measurement until a job has ended


class Work(NamedTuple):
    """Work that one worker does without a break.

    Attributes:
        names: names of its kind, from the most specific to the most general.
        operations: forecast of its floating-point operations; 0 if there is nothing to do. Only
            ratios within a kind matter.
    """

    names: tuple[str, ...]
    operations: float


@dataclass
class Durations:
    """Times of the work that has ended, by each of its names."""

    _seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _operations: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def record(self, work: Work, seconds: float) -> None:
        """Record the time of work that has ended."""
        if work.operations:
            for name in (*work.names, ""):  # the empty name is that of all work
                self._seconds[name] += seconds
                self._operations[name] += work.operations

    def is_known(self, work: Work) -> bool:
        """Whether work of this kind has ended, or there is nothing to do."""
        return not work.operations or any(name in self._seconds for name in work.names)

    def expected(self, work: Work) -> float:
        """Return the expected seconds: the rate of the most specific kind times the operations."""
        if not work.operations:
            return 0.0
        for name in (*work.names, ""):
            if name in self._seconds:
                return self._seconds[name] / self._operations[name] * work.operations
        return work.operations / _RATE
