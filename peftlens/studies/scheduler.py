"""Dispatch jobs to workers, and lose at most one job to a worker that dies or hangs.

A job that a signal killed is tried once more: the kernel kills for want of memory, which may be
there later.
"""

import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any, NamedTuple, Protocol

from rich.progress import Progress, TaskID

from peftlens.io.progress import bars, say
from peftlens.results.outcomes import Died, Locked, Outcome
from peftlens.studies.worker_protocol import ProgressUpdate, Reply, Request


class JobKey(NamedTuple):
    """Identity of a job.

    Attributes:
        kind: kind of its request.
        target: id of a run, or name of a probe.
    """

    kind: str
    target: str


@dataclass(frozen=True)
class Job:
    """A job for a worker.

    Attributes:
        key: identity of the job.
        description: the same for people.
        build_request: makes the request when a worker is free for it.
        needs: key of a job that must have ended before this one can begin.
    """

    key: JobKey
    description: str
    build_request: Callable[[], Request]
    needs: JobKey | None = None

    @classmethod
    def from_request(
        cls, request: Request, target: str, description: str, needs: JobKey | None = None
    ) -> "Job":
        """A job whose request does not depend on the jobs before it."""
        return cls(JobKey(request.kind, target), description, lambda: request, needs)


@dataclass(frozen=True)
class JobResult:
    """A job and its outcome."""

    job: Job
    outcome: Outcome


class WorkerPool(Protocol):
    """Slots for workers, each with at most one job at a time."""

    slots: int

    def accepts(self, slot: int) -> bool:
        """Whether an idle slot can begin a job; one that can't may later."""
        ...

    def submit(self, slot: int, request: Request) -> None:
        """Begin a job on an idle slot."""
        ...

    def poll(self, seconds: float) -> Iterable[tuple[int, Reply]]:
        """New replies with their slots; waits up to so many seconds for the first."""
        ...

    def close(self, *, now: bool) -> None:
        """End the workers after their jobs, or with `now` in the middle of them."""
        ...


class Stopped(BaseException):
    """A signal asked for the end.

    Attributes:
        code: what the process exits with: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Signals:
    """While the block runs, Ctrl-C lets what is under way finish; Ctrl-C again or SIGTERM does not.

    Outside of a program's main thread signals can't be caught, and nothing changes.

    Attributes:
        code: 0, or what to exit with when that is finished.
    """

    def __init__(self) -> None:
        self.code = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._asked)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _asked(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        again, self.code = bool(self.code), self.code or 128 + number
        if not again and number == signal.SIGINT:
            say("Finishing what is under way; Ctrl-C again drops it")
            return
        for other in self._before:  # the cleaning up that follows is not disturbed
            signal.signal(other, signal.SIG_IGN)
        raise Stopped(self.code)


def run_jobs(
    jobs: deque[Job], pool: WorkerPool, signals: Signals, title: str = ""
) -> Iterator[JobResult]:
    """Do all jobs, as many at a time as there are slots; yields the result of each as it ends.

    The caller may add jobs to the queue in between. A job that is locked by another process is
    tried once more after all the others, and never waited for.

    Raises:
        Stopped: a signal asked for it; what is under way was finished or dropped.
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
    """Present jobs by slot, jobs that were tried before, and the progress bars of them all."""

    def __init__(
        self, jobs: deque[Job], pool: WorkerPool, shown: Progress, overall: TaskID
    ) -> None:
        self.busy: dict[int, Job] = {}
        self._jobs = jobs
        self._pool = pool
        self._killed: set[JobKey] = set()
        self._locked: set[JobKey] = set()
        self._ended = 0
        self._shown, self._overall = shown, overall
        self._lines: dict[int, TaskID] = {}

    def dispatch(self) -> None:
        """Give each idle slot a job, as long as there are any that can begin."""
        for slot in range(self._pool.slots):
            if slot in self.busy or not self._pool.accepts(slot):
                continue
            if job := _take_ready(self._jobs, self.busy):
                self.busy[slot] = job
                self._lines[slot] = self._shown.add_task(job.description, total=None, note="")
                self._pool.submit(slot, job.build_request())
        total = self._ended + len(self.busy) + len(self._jobs)
        self._shown.update(self._overall, completed=self._ended, total=total)

    def handle(self, slot: int, reply: Reply) -> JobResult | None:
        """The result of the job that a reply ends, if it ends one."""
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
            return None  # an idle worker died, and a new one comes when it is needed
        self._shown.remove_task(self._lines.pop(slot))
        match reply:
            case Died(is_retryable=True) if job.key not in self._killed:
                self._killed.add(job.key)
                say(f"{job.description}: {reply.error_summary}; once more")
                self._jobs.appendleft(job)
                return None
            case Locked() if job.key not in self._locked:
                self._locked.add(job.key)
                self._jobs.append(job)
                return None
        self._ended += 1
        return JobResult(job, reply)


def _take_ready(jobs: deque[Job], busy: Mapping[int, Job]) -> Job | None:
    """Take the first job whose needs have ended out of the queue."""
    for index, job in enumerate(jobs):
        if job.needs is None or all(job.needs != other.key for other in (*jobs, *busy.values())):
            del jobs[index]
            return job
    return None
