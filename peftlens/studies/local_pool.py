"""Pools of workers on this machine: separate processes, or this process."""

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

from peftlens.results.outcomes import Died, Outcome
from peftlens.studies.worker_protocol import (
    Actions,
    ProgressUpdate,
    Reply,
    Request,
    parse_reply,
    perform,
    to_line,
)

_CLEANUP_SECONDS = 5.0  # for a worker to exit
_KILL_DELAY = 60.0  # seconds past the stall timeout, after which a worker is killed
_LOG_BYTES = 20_000  # length of the kept end of a failed job's log
# on Windows, where no signal can be blocked, a group of its own keeps Ctrl-C from a worker
_NEW_PROCESS_GROUP = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)


class InProcessPool:
    """Pool with this process as its only slot, for debugging: crashes are not isolated."""

    slots = 1

    def __init__(self, module: str) -> None:
        self._module = module
        self._outcome: Outcome | None = None

    @cached_property
    def _actions(self) -> Actions:
        return import_module(self._module).actions()

    def accepts(self, slot: int) -> bool:  # noqa: ARG002
        """Return True: every slot accepts a job at any time."""
        return True

    def submit(self, slot: int, request: Request) -> None:  # noqa: ARG002
        """Perform a request at once."""
        self._outcome = perform(self._actions[request.kind], request)

    def poll(self, seconds: float) -> Iterable[tuple[int, Reply]]:  # noqa: ARG002
        """Return the outcome of the last request."""
        return [(0, self._outcome)] if self._outcome else []

    def close(self, *, now: bool) -> None:
        """Do nothing: there is no process to end."""


@dataclass
class _Process:
    """A worker process.

    Attributes:
        process: handle of the process.
        log: its standard error.
        listener: thread that reads its replies.
        log_start: offset in the log where the present job begins.
        activity: last activity that it announced in the present job.
        last_reply: time of its last reply, or of the present job's begin.
    """

    process: subprocess.Popen[str]
    log: IO[bytes]
    listener: threading.Thread | None = None
    log_start: int = 0
    activity: str | None = None
    last_reply: float = field(default_factory=time.monotonic)


class LocalPool:
    """Pool of worker processes on this machine, each started for its first request.

    Args:
        environments: environment variables of each worker, in addition to this process's.
        stall_timeout: seconds without progress after which a worker counts as hung; 0 for never.
        module: name of the worker's module; see `worker_protocol.main`.
    """

    def __init__(
        self,
        environments: list[dict[str, str]],
        stall_timeout: float = 0,
        module: str = "peftlens.studies.worker",
    ) -> None:
        self.slots = len(environments)
        self._environments = environments
        self._stall_timeout = stall_timeout
        self._module = module
        self._workers: dict[int, _Process] = {}
        self._replies: queue.Queue[tuple[int, _Process, Reply | None]] = queue.Queue()

    def reshape(self, environments: list[dict[str, str]]) -> None:
        """Change the number of slots; workers survive if their variables stay the same."""
        if environments[0] != self._environments[0]:
            self.close(now=True)
        self.slots, self._environments = len(environments), environments

    def accepts(self, slot: int) -> bool:  # noqa: ARG002
        """Return True: every slot accepts a job at any time."""
        return True

    def submit(self, slot: int, request: Request) -> None:
        """Send a request to the slot's worker; start a worker if there is none."""
        worker = self._workers.get(slot)
        if worker is None or worker.process.poll() is not None:
            worker = self._workers[slot] = self._start(slot)
        worker.log_start = os.fstat(worker.log.fileno()).st_size
        worker.activity, worker.last_reply = None, time.monotonic()
        assert worker.process.stdin
        with suppress(OSError):  # a broken pipe: the worker died, and its listener reports that
            worker.process.stdin.write(to_line(request))
            worker.process.stdin.flush()

    def _start(self, slot: int) -> _Process:
        log = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the worker
        with _sigint_blocked():
            process = subprocess.Popen(
                [sys.executable, "-m", self._module, str(self._stall_timeout)],
                env=os.environ | self._environments[slot],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                encoding="utf-8",
                creationflags=_NEW_PROCESS_GROUP,
            )
        worker = _Process(process, log)
        worker.listener = threading.Thread(target=self._listen, args=(slot, worker), daemon=True)
        worker.listener.start()
        return worker

    def _listen(self, slot: int, worker: _Process) -> None:
        with suppress(OSError), worker.process:  # closes its pipes at the end
            assert worker.process.stdout
            for line in worker.process.stdout:
                self._replies.put((slot, worker, parse_reply(line)))
        self._replies.put((slot, worker, None))

    def poll(self, seconds: float) -> Iterable[tuple[int, Reply]]:
        """Yield replies of the present workers; replies of replaced workers are dropped."""
        self._kill_hung()
        with suppress(queue.Empty):
            slot, worker, reply = self._replies.get(timeout=seconds)
            if self._workers.get(slot) is not worker:
                return
            if reply is None:
                del self._workers[slot]
                yield slot, self._death(worker)
                return
            worker.last_reply = time.monotonic()
            if isinstance(reply, ProgressUpdate) and reply.total == 0:
                worker.activity = reply.activity
            yield slot, reply

    def _kill_hung(self) -> None:
        """Kill workers whose watchdog did not fire: stopped processes, or hung at startup."""
        if not self._stall_timeout:
            return
        for worker in self._workers.values():
            if time.monotonic() - worker.last_reply > self._stall_timeout + _KILL_DELAY:
                worker.process.kill()

    def _death(self, worker: _Process) -> Died:
        code = worker.process.returncode
        silent = time.monotonic() - worker.last_reply
        # the watchdog exits with 1; its clock and this one differ by the delay of the pipe
        hung = bool(self._stall_timeout) and silent > 0.9 * self._stall_timeout
        number = -code if code < 0 else code - 128  # a shell reports signals as 128 + number
        by_signal = number in {*signal.Signals}
        worker.log.seek(worker.log_start)
        log = worker.log.read()[-_LOG_BYTES:].decode(errors="replace")
        worker.log.close()
        if hung:
            reason = f"no sign of progress for {silent:.0f} s: the worker was stopped"
        elif by_signal:
            name = signal.Signals(number).name
            reason = f"the worker was killed by {name}"
            reason += ", as the system does when memory runs out" if name == "SIGKILL" else ""
        else:
            reason = f"the worker ended by itself, with code {code}"
        return Died(
            error_summary=reason,
            log=log,
            activity=worker.activity,
            is_retryable=by_signal and not hung,
        )

    def close(self, *, now: bool) -> None:
        """End the workers; with `now`, without waiting for their jobs."""
        workers, self._workers = list(self._workers.values()), {}
        for worker in workers:
            if now:
                worker.process.terminate()
            with suppress(OSError):
                assert worker.process.stdin
                worker.process.stdin.close()
        end = time.monotonic() + _CLEANUP_SECONDS
        for worker in workers:
            try:
                worker.process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
            assert worker.listener
            worker.listener.join()
            worker.log.close()


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Block SIGINT for processes started in the block, even while they load libraries.

    A terminal sends Ctrl-C to all processes, but only the supervisor handles it.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
