"""Dispatch of jobs to workers, in which a dead or hung worker costs at most one job.

A job whose worker was killed by a signal is retried once: the usual cause is a lack of memory,
which may be free later.
"""

import signal
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any, Protocol

from rich.progress import Progress, TaskID

from peftlens.io.progress import bars, say
from peftlens.results.outcomes import Died, Done, Locked, Outcome
from peftlens.studies.job_queue import Job, JobKey, JobQueue
from peftlens.studies.worker_protocol import ProgressUpdate, Reply, Request


@dataclass(frozen=True)
class JobResult:
    """Job with its outcome.

    Attributes:
        job: the finished job.
        outcome: outcome of the job.
    """

    job: Job
    outcome: Outcome


class WorkerPool(Protocol):
    """Interface of pools: slots for workers, each with at most one job at a time.

    Attributes:
        slots: number of slots.
    """

    slots: int

    def accepts(self, slot: int) -> bool:
        """Return whether an idle slot can begin a job now."""
        ...

    def submit(self, slot: int, request: Request) -> None:
        """Begin a job on an idle slot."""
        ...

    def poll(self, seconds: float) -> Iterable[tuple[int, Reply]]:
        """Return new replies with their slots; wait up to so many seconds for the first."""
        ...

    def close(self, *, now: bool) -> None:
        """End the workers after their present jobs; with `now`, at once."""
        ...


class Stopped(BaseException):
    """Exception that ends the program after a signal.

    Attributes:
        code: exit code of the process: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Signals:
    """Signal handler: the first Ctrl-C waits for present jobs; a second one or SIGTERM does not.

    Outside of the main thread signals can't be caught, and the handler has no effect.

    Attributes:
        code: exit code once the present jobs are finished; 0 before a signal.
    """

    def __init__(self) -> None:
        self.code = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        again, self.code = bool(self.code), self.code or 128 + number
        if not again and number == signal.SIGINT:
            say("Finishing the present jobs; Ctrl-C again drops them")
            return
        for other in self._before:  # further signals must not interrupt the cleanup
            signal.signal(other, signal.SIG_IGN)
        raise Stopped(self.code)


def run_jobs(
    jobs: JobQueue, pool: WorkerPool, signals: Signals, title: str = ""
) -> Iterator[JobResult]:
    """Run all jobs, as many at a time as there are slots; yield each result as its job ends.

    The caller may add jobs to the queue in between. A job that is locked by another process is
    retried once, after all other jobs.

    Raises:
        Stopped: a signal was received; present jobs were finished or dropped.
    """
    with bars() as shown:
        overall = shown.add_task(title, total=None, note="", visible=bool(title))
        board = JobBoard(jobs, pool, shown, overall)
        while True:
            if not signals.code:
                board.dispatch()
            if not board.busy and (signals.code or not jobs):
                break
            for slot, reply in pool.poll(0.2):
                if result := board.handle(slot, reply):
                    yield result
    if signals.code:
        raise Stopped(signals.code)


class JobBoard:
    """State of a queue of jobs: present jobs by slot, retried jobs, and their progress bars.

    Attributes:
        busy: present jobs, by slot.
    """

    def __init__(self, jobs: JobQueue, pool: WorkerPool, shown: Progress, overall: TaskID) -> None:
        self.busy: dict[int, Job] = {}
        self._jobs = jobs
        self._pool = pool
        self._killed: set[JobKey] = set()
        self._locked: set[JobKey] = set()
        self._ended = 0
        self._shown, self._overall = shown, overall
        self._lines: dict[int, TaskID] = {}

    def dispatch(self) -> None:
        """Submit jobs that can begin to the idle slots."""
        for slot in range(self._pool.slots):
            if slot in self.busy or not self._pool.accepts(slot):
                continue
            if job := self._jobs.take(self._pool.slots):
                self.busy[slot] = job
                self._lines[slot] = self._shown.add_task(job.description, total=None, note="")
                self._pool.submit(slot, job.build_request())
        total = self._ended + len(self.busy) + len(self._jobs)
        self._shown.update(self._overall, completed=self._ended, total=total)

    def handle(self, slot: int, reply: Reply) -> JobResult | None:
        """Process a reply; return the result of the job that it ends, if any."""
        if isinstance(reply, ProgressUpdate):
            if slot in self._lines:
                self._shown.update(
                    self._lines[slot],
                    note=reply.activity,
                    completed=reply.completed,
                    total=reply.total or None,
                )
            return None
        job = self.busy.pop(slot, None)
        if job is None:
            return None  # an idle worker died; its slot starts another one on demand
        self._shown.remove_task(self._lines.pop(slot))
        self._jobs.end(job, done=isinstance(reply, Done))
        match reply:
            case Died(is_retryable=True) if job.key not in self._killed:
                self._killed.add(job.key)
                say(f"{job.description}: {reply.error_summary}; retrying once")
                self._jobs.add(job)
                return None
            case Locked() if job.key not in self._locked:
                self._locked.add(job.key)
                self._jobs.add(replace(job, place=1))
                return None
        self._ended += 1
        return JobResult(job, reply)
