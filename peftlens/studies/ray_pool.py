"""Workers on a Ray cluster: each an actor that holds the base and does what `worker` does.

Nothing is shared but Ray itself: a run's folder travels as bytes through the object store, and this
process alone writes to the study. Base and data must be had under the same names on every node.
"""

import logging
import os
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

from peftlens.errors import InputError
from peftlens.io.files import new_folder, write_atomic
from peftlens.results.outcomes import Died, Done, Outcome
from peftlens.runs import store
from peftlens.studies.worker_protocol import (
    MeasureRequest,
    PlanRequest,
    Request,
    TrainRequest,
    outcome_of_error,
    perform_with_watchdog,
)

Files = dict[str, bytes]  # by their paths in a run's folder
# runs are trained alone here, and tables are written where the study lies
RayRequest = PlanRequest | TrainRequest | MeasureRequest


class RayPool:
    """A slot for each run that the cluster has CPUs or GPUs for; see `scheduler.WorkerPool`.

    Args:
        runs: the study's folder of runs, on this machine.
        needs: of each worker: `num_cpus`, `num_gpus`, `memory` in bytes, as Ray counts them.
        workers: instead of as many as there is room for.
        stall_timeout: see `local_pool.LocalPool`.
        module: whose actions the workers offer.

    Raises:
        InputError: Ray is not installed, or no node has room for a worker.
    """

    def __init__(
        self,
        runs: Path,
        needs: Mapping[str, float],
        *,
        workers: int | None = None,
        stall_timeout: float = 0,
        module: str = "peftlens.studies.worker",
    ) -> None:
        self._ray = _started()
        self._runs = runs
        self._stall_timeout, self._module = stall_timeout, module
        self._worker = self._ray.remote(**needs, max_restarts=0)(_Actor)
        room = _room(self._ray.nodes(), needs)
        if not room:
            raise InputError(
                f"no node of the Ray cluster has room for a worker, which needs {needs}"
            )
        self.slots = min(workers or room, room)
        self._actors: dict[int, Any] = {}
        self._coming: dict[Any, int] = {}  # slots whose actor waits for a node, by its first sign
        self._answers: dict[Any, tuple[int, Request]] = {}
        self._held: dict[int, ExitStack] = {}
        self._ready: list[tuple[int, Outcome]] = []
        for slot in range(self.slots):
            self._start(slot)

    def _start(self, slot: int) -> None:
        self._actors[slot] = self._worker.remote(self._module, self._stall_timeout, os.getcwd())
        self._coming[self._actors[slot].ready.remote()] = slot

    def accepts(self, slot: int) -> bool:
        """Whether the slot's actor runs; after a node was lost there may be no room for it."""
        return slot not in self._coming.values()

    def submit(self, slot: int, request: Request) -> None:
        """Send a request to the slot's actor with the files that it reads."""
        self._held[slot] = held = ExitStack()
        if isinstance(request, TrainRequest):
            try:
                held.enter_context(store.lock_run(self._runs, request.run))
            except store.RunLockedError as error:
                self._ready.append((slot, outcome_of_error(error)))
                return
            if (self._runs / request.run).exists():
                self._ready.append((slot, Done(result="finished by another process")))
                return
        read = _read_by(request)
        files = _pack(self._runs / read) if read else {}
        answer = self._actors[slot].perform.remote(request, read, files)
        self._answers[answer] = slot, request

    def poll(self, seconds: float) -> Iterable[tuple[int, Outcome]]:
        """Outcomes; what a worker made is on this machine's disk by then."""
        while self._ready:
            slot, outcome = self._ready.pop()
            self._held.pop(slot).close()
            yield slot, outcome
        waiting = [*self._answers, *self._coming]
        for answer in self._ray.wait(waiting, timeout=seconds)[0] if waiting else ():
            if answer in self._coming:
                self._arrived(answer)
                continue
            slot, request = self._answers.pop(answer)
            with self._held.pop(slot):
                yield slot, self._outcome(answer, slot, request)

    def _arrived(self, sign: Any) -> None:
        slot = self._coming.pop(sign)
        try:
            self._ray.get(sign)
        except self._ray.exceptions.RayError as error:
            if "creation task" in str(error):  # it would fail again, wherever it runs
                raise RuntimeError(f"a worker can't be started: {_line(error)}") from error
            self._start(slot)

    def _outcome(self, answer: Any, slot: int, request: Request) -> Outcome:
        try:
            outcome, files = self._ray.get(answer)
        except self._ray.exceptions.RayError as error:  # the actor died, or its node
            self._start(slot)
            # one that ended itself, for instance because it hung, would do it again
            return Died(
                error_summary=f"the worker was lost: {_line(error)}",
                log="",
                is_retryable="exit code" not in str(error),
            )
        if isinstance(outcome, Done):
            try:
                self._write(request, files)
            except OSError as error:
                return outcome_of_error(error)
        return outcome

    def _write(self, request: Request, files: Files) -> None:
        match request:
            case TrainRequest():
                with new_folder(self._runs / request.run) as folder:
                    _unpack(files, folder)
            case MeasureRequest():
                for name, data in files.items():
                    target = request.run / name
                    target.parent.mkdir(exist_ok=True)
                    write_atomic(target, data)

    def close(self, *, now: bool) -> None:  # noqa: ARG002  # an actor is idle, or not wanted
        """Let the actors go; the cluster stays."""
        for actor in self._actors.values():
            self._ray.kill(actor)
        for held in self._held.values():
            held.close()
        self._actors, self._coming, self._answers, self._held = {}, {}, {}, {}


class _Actor:
    """The remote side."""

    def __init__(self, module: str, stall_timeout: float, folder: str) -> None:
        if Path(folder).is_dir():  # names of files in a study are relative to it
            os.chdir(folder)
        self._actions = import_module(module).actions()
        self._stall_timeout = stall_timeout

    def ready(self) -> None:
        """Return as soon as the actor runs."""

    def perform(self, request: RayRequest, read: str | None, files: Files) -> tuple[Outcome, Files]:
        """Perform a request in a temporary folder; returns the outcome and the files it made."""
        if isinstance(request, PlanRequest):
            return self._perform(request), {}
        with tempfile.TemporaryDirectory() as temporary:
            runs = Path(temporary)
            if read:
                _unpack(files, runs / read)
            if isinstance(request, TrainRequest):
                made, changed = runs / request.run, {"folder": runs}
            else:
                made, changed = runs / request.run.name, {"run": runs / request.run.name}
            outcome = self._perform(request.model_copy(update=changed))
            if not isinstance(outcome, Done):
                return outcome, {}
            known = files if isinstance(request, MeasureRequest) else {}  # of the same run
            return outcome, {n: d for n, d in _pack(made).items() if known.get(n) != d}

    def _perform(self, request: RayRequest) -> Outcome:
        return perform_with_watchdog(request, self._actions, self._stall_timeout, lambda _: None)


def _read_by(request: Request) -> str | None:
    """The run whose files a request reads."""
    match request:
        case MeasureRequest():
            return request.run.name
        case TrainRequest():
            return request.config.continue_from
    return None


def _started() -> Any:
    """Ray, connected to the cluster of RAY_ADDRESS, or to one that it starts on this machine."""
    try:
        import ray
    except ImportError as error:
        raise InputError("--engine ray needs Ray: pip install 'peftlens[cluster]'") from error
    if not ray.is_initialized():
        own: dict[str, Any] = (
            {} if "RAY_ADDRESS" in os.environ else {"_node_ip_address": "127.0.0.1"}
        )
        ray.init(log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR, **own)
    return ray


def _room(nodes: Iterable[Mapping[str, Any]], needs: Mapping[str, float]) -> int:
    """How many workers the living nodes have room for."""
    names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
    wanted = {names[key]: value for key, value in needs.items() if value}
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    return sum(min(int(node.get(k, 0) // v) for k, v in wanted.items()) for node in alive)


def _pack(folder: Path) -> Files:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def _unpack(files: Files, folder: Path) -> None:
    """Write files below a folder."""
    for name, data in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
