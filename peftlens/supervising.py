"""Hand tasks to workers, and lose no more than one task to whatever becomes of a worker.

A task is done, or it failed; a worker that dies or hangs costs the one that it was at. What a
signal killed is tried once more: the kernel kills for want of memory, which may be there later.
"""

import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import IO, Any, Protocol

from rich.progress import Progress, TaskID

from peftlens.progress import bars, say

Message = dict[str, Any]
_GRACE = 5.0  # seconds for a worker to clean up
_LATE = 60.0  # seconds after which a worker, starting or not, should have ended itself
_LOG_BYTES = 20_000  # of a failed task's log that are kept


@dataclass(frozen=True)
class Job:
    """A task, and what is to be known of it.

    Attributes:
        key: tells jobs of one study apart.
        what: for people.
        task: for the worker; see `serving`.
        needs: key of a job that must have ended before this one can begin.
    """

    key: str
    what: str
    task: Mapping[str, Any]
    needs: str | None = None


@dataclass(frozen=True)
class Ended:
    """A job and its outcome: as `serving.perform` has it, or `died`: how, `log` and `at`."""

    job: Job
    outcome: Message


class Engine(Protocol):
    """Where tasks are done."""

    slots: int

    def takes(self, slot: int) -> bool:
        """Whether an idle slot can begin a job; one that can't may later."""
        ...

    def give(self, slot: int, job: Job) -> None:
        """Begin a job on a slot that has none."""
        ...

    def poll(self, seconds: float) -> Iterable[tuple[int, Message]]:
        """What slots have to tell: progress (`at`), an outcome, or `died`; waits if nothing."""
        ...

    def close(self, *, now: bool) -> None:
        """Let the workers go, or with `now` stop them in the middle of what they are at."""
        ...


class Here:
    """One slot: this process itself. Nothing protects it, and a debugger can look at it."""

    slots = 1

    def __init__(self, module: str) -> None:
        self._module = module
        self._outcome: Message | None = None

    def takes(self, slot: int) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def give(self, slot: int, job: Job) -> None:  # noqa: ARG002
        """Do it at once."""
        serving = importlib.import_module("peftlens.serving")
        actions = importlib.import_module(self._module).ACTIONS
        self._outcome = serving.perform(job.task, actions)

    def poll(self, seconds: float) -> Iterable[tuple[int, Message]]:  # noqa: ARG002
        """The outcome."""
        return [(0, self._outcome)] if self._outcome else []

    def close(self, *, now: bool) -> None:
        """Nothing is left to do."""


@dataclass
class _Process:
    """A worker process and what is known of it."""

    process: subprocess.Popen[str]
    log: IO[bytes]
    listener: threading.Thread | None = None
    begun: int = 0  # where the log of the present task begins
    at: str | None = None
    heard: float = field(default_factory=time.monotonic)


class Local:
    """Processes on this machine, started when they are first needed.

    Args:
        environments: variables of each worker, beside this process's own.
        limit: seconds without progress after which a worker is taken for hung; 0 for never.
        module: whose `python -m` serves; see `serving.main`.
    """

    def __init__(
        self,
        environments: list[dict[str, str]],
        limit: float = 0,
        module: str = "peftlens.worker",
    ) -> None:
        self.slots = len(environments)
        self._environments = environments
        self._limit = limit
        self._module = module
        self._workers: dict[int, _Process] = {}
        self._messages: queue.Queue[tuple[int, _Process, Message | None]] = queue.Queue()

    def reshape(self, environments: list[dict[str, str]]) -> None:
        """Have a slot for each of these; a worker whose variables stay the same is kept."""
        if environments[0] != self._environments[0]:
            self.close(now=True)
        self.slots, self._environments = len(environments), environments

    def takes(self, slot: int) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def give(self, slot: int, job: Job) -> None:
        """Send it to the slot's worker, a new one if need be."""
        worker = self._workers.get(slot)
        if worker is None or worker.process.poll() is not None:
            worker = self._workers[slot] = self._start(slot)
        worker.begun = os.fstat(worker.log.fileno()).st_size
        worker.at, worker.heard = None, time.monotonic()
        assert worker.process.stdin
        with suppress(BrokenPipeError):  # it has died: its end is told by its own thread
            worker.process.stdin.write(json.dumps(job.task) + "\n")
            worker.process.stdin.flush()

    def _start(self, slot: int) -> _Process:
        log = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the worker
        process = subprocess.Popen(
            [sys.executable, "-m", self._module, str(self._limit)],
            env=os.environ | self._environments[slot],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        worker = _Process(process, log)
        worker.listener = threading.Thread(target=self._listen, args=(slot, worker), daemon=True)
        worker.listener.start()
        return worker

    def _listen(self, slot: int, worker: _Process) -> None:
        with suppress(BrokenPipeError), worker.process:  # closes its pipes in the end
            assert worker.process.stdout
            for line in worker.process.stdout:
                self._messages.put((slot, worker, json.loads(line)))
        self._messages.put((slot, worker, None))

    def poll(self, seconds: float) -> Iterable[tuple[int, Message]]:
        """Messages of the workers that are; the last words of one that was replaced are dropped."""
        self._stop_hung()
        with suppress(queue.Empty):
            slot, worker, message = self._messages.get(timeout=seconds)
            if self._workers.get(slot) is not worker:
                return
            if message is None:
                del self._workers[slot]
                yield slot, self._death(worker)
                return
            worker.heard = time.monotonic()
            if message.get("total") == 0:
                worker.at = message["at"]
            yield slot, message

    def _stop_hung(self) -> None:
        """Kill who should have ended itself: it was stopped, or can't run even its own clock."""
        for worker in self._workers.values():
            if self._limit and time.monotonic() - worker.heard > self._limit + _LATE:
                worker.process.kill()

    def _death(self, worker: _Process) -> Message:
        code = worker.process.returncode
        silent = time.monotonic() - worker.heard
        # a worker that ends itself exits with 1; its clock and ours differ by the pipe's delay
        hung = bool(self._limit) and silent > 0.9 * self._limit
        by_signal = code < 0 or code > 128
        worker.log.seek(worker.begun)
        log = worker.log.read()[-_LOG_BYTES:].decode(errors="replace")
        worker.log.close()
        if hung:
            how = f"no sign of progress for {silent:.0f} s: the worker was stopped"
        elif by_signal:
            number = -code if code < 0 else code - 128
            how = f"the worker was killed by {signal.Signals(number).name}"
            how += ", as the system does when memory runs out" if number == signal.SIGKILL else ""
        else:
            how = f"the worker ended by itself, with code {code}"
        again = by_signal and not hung
        return {"died": how, "log": log, "at": worker.at, "again": again}

    def close(self, *, now: bool) -> None:
        """End the workers; `now` does not wait for what they are at."""
        workers, self._workers = list(self._workers.values()), {}
        for worker in workers:
            if now:
                worker.process.terminate()
            with suppress(BrokenPipeError):
                assert worker.process.stdin
                worker.process.stdin.close()
        end = time.monotonic() + _GRACE
        for worker in workers:
            try:
                worker.process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
            assert worker.listener
            worker.listener.join()
            worker.log.close()


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


def supervise(
    jobs: deque[Job], engine: Engine, signals: Signals, title: str = ""
) -> Iterator[Ended]:
    """Do all jobs, as many at a time as there are slots; yields each as it ends.

    The caller may add jobs to the queue in between. What another process is at is looked at once
    more after all the others, and never waited for.

    Raises:
        Stopped: a signal asked for it; what is under way was finished or dropped.
    """
    with bars() as shown:
        overall = shown.add_task(title, total=None, note="", visible=bool(title))
        floor = _Floor(jobs, engine, shown, overall)
        while True:
            if not signals.code:
                floor.hand_out()
            if not floor.busy and (signals.code or not jobs):
                break
            for slot, message in engine.poll(0.2):
                if ended := floor.heard(slot, message):
                    yield ended
    if signals.code:
        raise Stopped(signals.code)


class _Floor:
    """Who is at what, who was killed once, what another process is at, and the bars of it all."""

    def __init__(self, jobs: deque[Job], engine: Engine, shown: Progress, overall: TaskID) -> None:
        self.busy: dict[int, Job] = {}
        self._jobs = jobs
        self._engine = engine
        self._killed: set[str] = set()
        self._elsewhere: set[str] = set()
        self._ended = 0
        self._shown, self._overall = shown, overall
        self._lines: dict[int, TaskID] = {}

    def hand_out(self) -> None:
        """Give each idle slot a job, as long as there are any that can begin."""
        for slot in range(self._engine.slots):
            if slot in self.busy or not self._engine.takes(slot):
                continue
            if job := _ready(self._jobs, self.busy):
                self.busy[slot] = job
                self._lines[slot] = self._shown.add_task(job.what, total=None, note="")
                self._engine.give(slot, job)
        known = self._ended + len(self.busy) + len(self._jobs)
        self._shown.update(self._overall, completed=self._ended, total=known)

    def heard(self, slot: int, message: Message) -> Ended | None:
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
        return Ended(job, message)


def _ready(jobs: deque[Job], busy: Mapping[int, Job]) -> Job | None:
    """Take the first job whose needs have ended out of the queue."""
    for index, job in enumerate(jobs):
        if job.needs is None or all(job.needs != other.key for other in (*jobs, *busy.values())):
            del jobs[index]
            return job
    return None
