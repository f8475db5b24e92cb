"""Hand tasks to workers, and lose no more than one task to whatever becomes of a worker.

A task is done, or it failed; a worker that dies or hangs costs the one that it was at. What a
signal killed is tried once more: the kernel kills for want of memory, which may be there later.
"""

import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol

from rich.progress import Progress, TaskID

from peftlens.io.progress import bars, say
from peftlens.results.outcomes import Message
from peftlens.studies.worker_protocol import Task

Key = tuple[str, str]


@dataclass(frozen=True)
class Job:
    """A task, and what is to be known of it.

    Attributes:
        key: what is done, and of what: a run's id, or a probe.
        what: the same for people.
        task: gives what the worker is sent, when it is sent.
        needs: key of a job that must have ended before this one can begin.
    """

    key: Key
    what: str
    task: Callable[[], Task]
    needs: Key | None = None

    @classmethod
    def known(cls, key: Key, what: str, given: Task, needs: Key | None = None) -> "Job":
        """A job whose task is known already: its key says what to do, `given` with what."""
        task: Task = {"do": key[0], "with": given}
        return cls(key, what, lambda: task, needs)


@dataclass(frozen=True)
class JobResult:
    """A job and its outcome: as `worker_protocol.perform` has it, or `died`: how, `log` and `at`."""

    job: Job
    outcome: Message


class WorkerPool(Protocol):
    """Where tasks are done."""

    slots: int

    def accepts(self, slot: int) -> bool:
        """Whether an idle slot can begin a job; one that can't may later."""
        ...

    def submit(self, slot: int, task: Task) -> None:
        """Begin a task on a slot that has none."""
        ...

    def poll(self, seconds: float) -> Iterable[tuple[int, Message]]:
        """What slots have to tell: progress (`at`), an outcome, or `died`; waits if nothing."""
        ...

    def close(self, *, now: bool) -> None:
        """Let the workers go, or with `now` stop them in the middle of what they are at."""
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
    jobs: deque[Job], engine: WorkerPool, signals: Signals, title: str = ""
) -> Iterator[JobResult]:
    """Do all jobs, as many at a time as there are slots; yields each as it ends.

    The caller may add jobs to the queue in between. What another process is at is looked at once
    more after all the others, and never waited for.

    Raises:
        Stopped: a signal asked for it; what is under way was finished or dropped.
    """
    with bars() as shown:
        overall = shown.add_task(title, total=None, note="", visible=bool(title))
        floor = JobBoard(jobs, engine, shown, overall)
        while True:
            if not signals.code:
                floor.dispatch()
            if not floor.busy and (signals.code or not jobs):
                break
            for slot, message in engine.poll(0.2):
                if ended := floor.handle(slot, message):
                    yield ended
    if signals.code:
        raise Stopped(signals.code)


class JobBoard:
    """Who is at what, who was killed once, what another process is at, and the bars of it all."""

    def __init__(
        self, jobs: deque[Job], engine: WorkerPool, shown: Progress, overall: TaskID
    ) -> None:
        self.busy: dict[int, Job] = {}
        self._jobs = jobs
        self._engine = engine
        self._killed: set[Key] = set()
        self._elsewhere: set[Key] = set()
        self._ended = 0
        self._shown, self._overall = shown, overall
        self._lines: dict[int, TaskID] = {}

    def dispatch(self) -> None:
        """Give each idle slot a job, as long as there are any that can begin."""
        for slot in range(self._engine.slots):
            if slot in self.busy or not self._engine.accepts(slot):
                continue
            if job := _ready(self._jobs, self.busy):
                self.busy[slot] = job
                self._lines[slot] = self._shown.add_task(job.what, total=None, note="")
                self._engine.submit(slot, job.task())
        known = self._ended + len(self.busy) + len(self._jobs)
        self._shown.update(self._overall, completed=self._ended, total=known)

    def handle(self, slot: int, message: Message) -> JobResult | None:
        """What a message ends, if it ends anything."""
        if "at" in message and "died" not in message:
            count = {"completed": message["done"], "total": message["total"] or None}
            if slot in self._lines:
                self._shown.update(self._lines[slot], note=message["at"], **count)
            return None
        job = self.busy.pop(slot, None)
        if job is None:
            return None  # an idle worker died, and a new one comes when it is needed
        self._shown.remove_task(self._lines.pop(slot))
        if message.get("again") and job.key not in self._killed:
            self._killed.add(job.key)
            say(f"{job.what}: {message['died']}; once more")
            self._jobs.appendleft(job)
            return None
        if "claimed" in message and job.key not in self._elsewhere:
            self._elsewhere.add(job.key)
            self._jobs.append(job)
            return None
        self._ended += 1
        return JobResult(job, message)


def _ready(jobs: deque[Job], busy: Mapping[int, Job]) -> Job | None:
    """Take the first job whose needs have ended out of the queue."""
    for index, job in enumerate(jobs):
        if job.needs is None or all(job.needs != other.key for other in (*jobs, *busy.values())):
            del jobs[index]
            return job
    return None
