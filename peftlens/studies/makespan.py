"""Makespan of a call: the time it is expected to take, once that is known, and the time it took."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from peftlens.io.progress import say
from peftlens.numerics.counts import counted, duration
from peftlens.results import invocations
from peftlens.studies.job_queue import JobQueue

_TOLD = 60.0  # seconds; shorter times are not told
_SHARE = 0.1  # share of the work that has to be done before the rest is foreseen
_GROWTH = 1.1  # factor of the number of ended jobs after which the rest is estimated again


@dataclass
class Makespan:
    """Time of one call.

    Attributes:
        clock: function that returns the time in seconds.
        worked: seconds of all ended jobs, over all workers.
        workers: number of workers; 0 before the first job has ended.
        expected_seconds: time of the call as foreseen while it ran; None if it was not.
    """

    clock: Callable[[], float] = time.monotonic
    worked: float = 0.0
    workers: int = 0
    expected_seconds: float | None = None
    _began: float | None = field(default=None, init=False)
    _record: Path | None = field(default=None, init=False)
    _results: int = field(default=0, init=False)
    _next: float = field(default=1.0, init=False)

    def begin(self, study: Path) -> None:
        """Record the call in the study's folder."""
        self._began, self._record = self.clock(), invocations.record(study)

    def foresee(self, jobs: JobQueue, workers: int) -> None:
        """Tell the time left, once: after a tenth of the work, when all kinds of work are known."""
        self.workers, self._results = workers, self._results + 1
        if self.expected_seconds is not None or self._results < max(workers, self._next):
            return
        self._next = self._results * _GROWTH
        left = jobs.seconds_left(workers)
        if left is None or self._began is None:
            return
        if jobs.worked < _SHARE * (jobs.worked + left * workers):
            return
        self.expected_seconds = self.clock() - self._began + left
        if left >= _TOLD:
            say(f"About {duration(left)} left with {_of_workers(workers)}")

    def end(self) -> None:
        """Tell and record the time that the call took."""
        if self._began is None or self._record is None or not self.workers:
            return
        seconds = self.clock() - self._began
        share = min(1.0, self.worked / (self.workers * seconds)) if seconds else 1.0
        invocations.add(
            self._record,
            workers=self.workers,
            seconds=round(seconds, 1),
            expected_seconds=self.expected_seconds and round(self.expected_seconds, 1),
            worked_share=round(share, 3),
        )
        if seconds >= _TOLD:
            worked = f"{_of_workers(self.workers)} worked {share:.0%} of the time"
            say(f"Took {duration(seconds)}; {worked}")


def _of_workers(workers: int) -> str:
    return counted(workers, "worker")
