"""Workers on this machine: processes of their own, or this one."""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import IO

from peftlens.results.outcomes import Message
from peftlens.studies.worker_protocol import Actions, Task, perform

_GRACE = 5.0  # seconds for a worker to clean up
_LATE = 60.0  # seconds after which a worker, starting or not, should have ended itself
_LOG_BYTES = 20_000  # of a failed task's log that are kept


class InProcessPool:
    """One slot: this process itself. Nothing protects it, and a debugger can look at it."""

    slots = 1

    def __init__(self, module: str) -> None:
        self._module = module
        self._outcome: Message | None = None

    @cached_property
    def _actions(self) -> Actions:
        return import_module(self._module).actions()

    def accepts(self, slot: int) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def submit(self, slot: int, task: Task) -> None:  # noqa: ARG002
        """Do it at once."""
        self._outcome = perform(task, self._actions)

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


class LocalPool:
    """Processes on this machine, started when they are first needed.

    Args:
        environments: variables of each worker, beside this process's own.
        limit: seconds without progress after which a worker is taken for hung; 0 for never.
        module: whose `python -m` serves; see `worker_protocol.main`.
    """

    def __init__(
        self,
        environments: list[dict[str, str]],
        limit: float = 0,
        module: str = "peftlens.studies.worker",
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

    def accepts(self, slot: int) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def submit(self, slot: int, task: Task) -> None:
        """Send it to the slot's worker, a new one if need be."""
        worker = self._workers.get(slot)
        if worker is None or worker.process.poll() is not None:
            worker = self._workers[slot] = self._start(slot)
        worker.begun = os.fstat(worker.log.fileno()).st_size
        worker.at, worker.heard = None, time.monotonic()
        assert worker.process.stdin
        with suppress(BrokenPipeError):  # it has died: its end is told by its own thread
            worker.process.stdin.write(json.dumps(task) + "\n")
            worker.process.stdin.flush()

    def _start(self, slot: int) -> _Process:
        log = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the worker
        with _deaf_to_ctrl_c():
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
        number = -code if code < 0 else code - 128  # the second is a shell's way to say so
        by_signal = number in {*signal.Signals}
        worker.log.seek(worker.begun)
        log = worker.log.read()[-_LOG_BYTES:].decode(errors="replace")
        worker.log.close()
        if hung:
            how = f"no sign of progress for {silent:.0f} s: the worker was stopped"
        elif by_signal:
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


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Who is started meanwhile never gets Ctrl-C, not even while it loads its libraries.

    A terminal sends it to all processes; what it means is the supervisor's to decide.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
