"""Queue of a study's jobs, which gives the job first on which the longest work depends.

A chain of runs, each trained on from the one before, counts with all that waits for it, and a run
with its longest probe (critical path scheduling; Graham 1969, doi 10.1137/0117039, has its bounds).
Work whose time nobody knows yet precedes all other work, as it decides about the order of the rest.
A job of several parts is split as soon as the other workers would run out of work before it ended.
"""

import heapq
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from peftlens.studies.durations import Durations, Work
from peftlens.studies.worker_protocol import Request

_RESORTED = 0.1  # share of the jobs whose end lets the others be sorted again


class JobKey(NamedTuple):
    """Identity of a job.

    Attributes:
        kind: kind of the job's request.
        target: id of a run or name of a probe.
        part: name of the part, if the job is a part of another one.
    """

    kind: str
    target: str
    part: str = ""


@dataclass(frozen=True)
class Job:
    """Job for a worker.

    Attributes:
        key: identity of the job.
        description: name of the job for people.
        build_request: function that builds the request once a worker is free.
        needs: key of a job that must end before this one can begin, if any.
        work: work of the job, in parts that a worker does one after the other.
        follow_up: work that can only begin once the job has ended, on any number of workers, and
            that is not in the queue yet.
        split: function that returns a job for each part, if workers can share them.
        place: -1 for a job before all others, 1 for one behind all others.
    """

    key: JobKey
    description: str
    build_request: Callable[[], Request]
    needs: JobKey | None = None
    work: tuple[Work, ...] = ()
    follow_up: tuple[Work, ...] = ()
    split: "Callable[[], Iterable[Job]] | None" = None
    place: int = 0

    @classmethod
    def from_request(
        cls, request: Request, target: str, description: str, needs: JobKey | None = None
    ) -> "Job":
        """Create a job whose request does not depend on earlier jobs."""
        return cls(JobKey(request.kind, target), description, lambda: request, needs)


class _Entry(NamedTuple):
    """Place of a job in the queue; the least is given first."""

    place: int
    is_known: bool
    minus_level: float
    number: int
    job: Job


class JobQueue:
    """Jobs that wait, and those that workers are at.

    Attributes:
        durations: expected times.
        worked: seconds of all jobs that have ended, over all workers.

    Args:
        jobs: first jobs; more can be added at any time.
        clock: function that returns the time in seconds.
    """

    def __init__(self, jobs: Iterable[Job] = (), clock: Callable[[], float] = time.monotonic):
        self.durations = Durations()
        self.worked = 0.0
        self._clock = clock
        self._ready: list[_Entry] = []  # a heap; some may turn out to wait for others
        self._waiting: dict[JobKey, list[Job]] = defaultdict(list)  # by what they need
        self._begun: dict[JobKey, tuple[Job, float]] = {}
        self._open: Counter[JobKey] = Counter()  # waiting or begun
        self._numbers: dict[JobKey, int] = {}
        self._beyond: dict[JobKey, float] = {}  # seconds of the longest chain that waits for a job
        self._left = 0.0  # seconds of all waiting jobs
        self._ended = 0  # since they were sorted
        for job in jobs:
            self.add(job)
        self._sort()

    def __len__(self) -> int:
        return len(self._ready) + sum(map(len, self._waiting.values()))

    def __iter__(self) -> Iterator[Job]:
        yield from (entry.job for entry in self._ready)
        for jobs in self._waiting.values():
            yield from jobs

    def add(self, job: Job) -> None:
        """Add a job."""
        self._open[job.key] += 1
        self._left += self._seconds(job)
        self._push(job)

    def extend(self, jobs: Iterable[Job]) -> None:
        """Add several jobs."""
        for job in jobs:
            self.add(job)

    def discard(self, is_unwanted: Callable[[Job], bool]) -> list[Job]:
        """Remove the waiting jobs that fit, and return them."""
        kept, removed = [], []
        for job in self:
            (removed if is_unwanted(job) else kept).append(job)
        for job in removed:
            self._close(job.key)
        self._sort(kept)
        return removed

    def take(self, workers: int) -> Job | None:
        """Remove and return the job to begin now; None if all wait for others.

        Args:
            workers: number of workers, which share a job that would keep one of them too long.
        """
        if self._ended >= max(1, _RESORTED * len(self)):
            self._sort()
        while self._ready:
            job = heapq.heappop(self._ready).job
            if job.needs and self._open[job.needs]:
                self._waiting[job.needs].append(job)
                continue
            self._left -= self._seconds(job)
            if job.split and len(job.work) > 1 and self._is_to_share(job, workers):
                self._close(job.key)
                self.extend(job.split())
                continue
            self._begun[job.key] = job, self._clock()
            return job
        return None

    def end(self, job: Job, *, done: bool) -> None:
        """Take note that a job has ended; the time of one that failed says nothing of others."""
        _, began = self._begun.pop(job.key)
        seconds = self._clock() - began
        self.worked += seconds
        self._ended += 1
        if done and len(job.work) == 1:
            self.durations.record(job.work[0], seconds)
        self._close(job.key)

    def seconds_left(self, workers: int) -> float | None:
        """Return the expected time until all has ended; None while some of the work is unknown.

        It is the longer of the longest chain and of the shares of all work (Graham's lower bounds),
        which are close where workers share the last jobs.
        """
        begun = [(job, self._clock() - since) for job, since in self._begun.values()]
        jobs = [*self, *(job for job, _ in begun)]
        works = [work for job in jobs for work in (*job.work, *job.follow_up)]
        if not all(map(self.durations.is_known, works)):
            return None
        self._beyond = self._chains(jobs)
        spent = sum(min(seconds, self._seconds(job)) for job, seconds in begun)
        longest = max((self._level(job) for job in self), default=0.0)
        for job, seconds in begun:
            longest = max(longest, self._level(job) - min(seconds, self._seconds(job)))
        return max(longest, (sum(map(self.durations.expected, works)) - spent) / workers)

    def _is_to_share(self, job: Job, workers: int) -> bool:
        known = all(map(self.durations.is_known, job.work))
        return not known or (workers > 1 and self._left < workers * self._seconds(job))

    def _close(self, key: JobKey) -> None:
        self._open[key] -= 1
        if self._open[key] <= 0:
            del self._open[key]
            for job in self._waiting.pop(key, ()):
                self._push(job)

    def _push(self, job: Job) -> None:
        heapq.heappush(self._ready, self._entry(job))

    def _entry(self, job: Job) -> _Entry:
        number = self._numbers.setdefault(job.key, len(self._numbers))
        known = all(map(self.durations.is_known, job.work))
        return _Entry(job.place, known, -self._level(job), number, job)

    def _sort(self, jobs: Iterable[Job] | None = None) -> None:
        """Order the jobs by what is known now."""
        jobs = sorted(self if jobs is None else jobs, key=lambda job: self._numbers[job.key])
        self._beyond = self._chains(jobs)
        self._left, self._ended = math.fsum(map(self._seconds, jobs)), 0
        self._waiting.clear()
        self._ready = [self._entry(job) for job in jobs]
        heapq.heapify(self._ready)

    def _chains(self, jobs: list[Job]) -> dict[JobKey, float]:
        """Return the seconds of the longest chain of jobs that waits for each job."""
        by_key, beyond = {job.key: job for job in jobs}, defaultdict[JobKey, float](float)
        for end in reversed(jobs):  # mostly the ends of chains first, so that each job is met once
            job: Job | None = end
            while job and job.needs:
                seconds = self._own_level(job) + beyond[job.key]
                if seconds <= beyond[job.needs]:
                    break
                beyond[job.needs] = seconds
                job = by_key.get(job.needs)
        return dict(beyond)

    def _level(self, job: Job) -> float:
        """Return the expected seconds until the last work ends that depends on this job."""
        return self._own_level(job) + self._beyond.get(job.key, 0.0)

    def _own_level(self, job: Job) -> float:
        longest = max if job.split else math.fsum
        own = longest(map(self.durations.expected, job.work)) if job.work else 0.0
        return own + max(map(self.durations.expected, job.follow_up), default=0.0)

    def _seconds(self, job: Job) -> float:
        return math.fsum(map(self.durations.expected, job.work))
