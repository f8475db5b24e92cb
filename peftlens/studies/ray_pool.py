"""Pool of workers on a Ray cluster: actors that hold the base model and execute requests.

No shared file system is needed: a run's folder is sent as bytes through Ray's object store, and
only this process writes to the study's folder. Base model and data must be available under the same
names on every node.
"""

import logging
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

from peftlens.errors import InputError
from peftlens.io.extras import install_command
from peftlens.io.files import new_folder, write_atomic
from peftlens.results.outcomes import Died, Done, Outcome
from peftlens.runs.lock import RunLockedError, lock_run
from peftlens.runs.paused import PAUSE, Pause, delete_paused, keep_paused, paused_runs
from peftlens.runs.run import Run
from peftlens.studies.worker_protocol import (
    MeasureRequest,
    PlanRequest,
    Request,
    TrainRequest,
    outcome_of_error,
    perform_with_watchdog,
)

Files = dict[str, bytes]  # contents of files by path in a run's folder
# batches are not trained on Ray, and tables are written on the study's machine
RayRequest = PlanRequest | TrainRequest | MeasureRequest


class RayPool:
    """Pool with as many slots as the cluster has room for; see `scheduler.WorkerPool`.

    Args:
        runs: the study's folder of runs, on this machine.
        needs: resources of each worker in Ray's terms: `num_cpus`, `num_gpus`, `memory` in bytes.
        workers: highest number of workers; None for as many as there is room for.
        stall_timeout: seconds without progress before a worker exits; 0 for never.
        module: name of the module with the worker's actions.

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
        self._ray = _connect()
        self._runs = runs
        self._stall_timeout, self._module = stall_timeout, module
        self._worker = self._ray.remote(**needs, max_restarts=0)(_Actor)
        capacity = _capacity(self._ray.nodes(), needs)
        if not capacity:
            raise InputError(
                f"no node of the Ray cluster has room for a worker, which needs {needs}"
            )
        self.slots = min(workers or capacity, capacity)
        self._actors: dict[int, Any] = {}
        # slots of actors that wait for a node, by the reference that resolves once the actor runs
        self._starting: dict[Any, int] = {}
        self._pending: dict[Any, tuple[int, Request]] = {}
        self._locks: dict[int, ExitStack] = {}
        self._ready: list[tuple[int, Outcome]] = []
        for slot in range(self.slots):
            self._start(slot)

    def _start(self, slot: int) -> None:
        self._actors[slot] = self._worker.remote(self._module, self._stall_timeout, os.getcwd())
        self._starting[self._actors[slot].ready.remote()] = slot

    def accepts(self, slot: int) -> bool:
        """Return whether the slot's actor runs; it may wait for room after a node was lost."""
        return slot not in self._starting.values()

    def submit(self, slot: int, request: Request) -> None:
        """Send a request to the slot's actor with the files that it reads."""
        self._locks[slot] = lock = ExitStack()
        if isinstance(request, TrainRequest):
            try:
                lock.enter_context(lock_run(self._runs, request.run))
            except RunLockedError as error:
                self._ready.append((slot, outcome_of_error(error)))
                return
            if (self._runs / request.run).exists():
                self._ready.append((slot, Done(result="finished by another process")))
                return
        files = {name: _pack(self._runs / name) for name in _input_runs(request, self._runs)}
        reference = self._actors[slot].perform.remote(request, files)
        self._pending[reference] = slot, request

    def poll(self, seconds: float) -> Iterable[tuple[int, Outcome]]:
        """Yield outcomes, after the files of each are on this machine's disk."""
        while self._ready:
            slot, outcome = self._ready.pop()
            self._locks.pop(slot).close()
            yield slot, outcome
        waiting = [*self._pending, *self._starting]
        for reference in self._ray.wait(waiting, timeout=seconds)[0] if waiting else ():
            if reference in self._starting:
                self._confirm_start(reference)
                continue
            slot, request = self._pending.pop(reference)
            with self._locks.pop(slot):
                yield slot, self._outcome(reference, slot, request)

    def _confirm_start(self, reference: Any) -> None:
        slot = self._starting.pop(reference)
        try:
            self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            if "creation task" in str(error):  # it would fail on any node
                raise RuntimeError(f"a worker can't be started: {_line(error)}") from error
            self._start(slot)

    def _outcome(self, reference: Any, slot: int, request: Request) -> Outcome:
        try:
            outcome, files = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:  # the actor died, or its node
            self._start(slot)
            # an actor that exited by itself, for instance after a stall, would exit again
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
                    if PAUSE in files:
                        step = Pause.model_validate_json(files[PAUSE]).step
                        keep_paused(folder, self._runs, request.run, step)
                if PAUSE not in files:
                    delete_paused(self._runs, request.run)
            case MeasureRequest():
                for name, data in files.items():
                    target = request.run / name
                    target.parent.mkdir(exist_ok=True)
                    write_atomic(target, data)

    def close(self, *, now: bool) -> None:  # noqa: ARG002  # killing loses no result
        """Kill the actors; the cluster keeps running."""
        for actor in self._actors.values():
            self._ray.kill(actor)
        for lock in self._locks.values():
            lock.close()
        self._actors, self._starting, self._pending, self._locks = {}, {}, {}, {}


class _Actor:
    """Worker on a node of the cluster."""

    def __init__(self, module: str, stall_timeout: float, folder: str) -> None:
        if Path(folder).is_dir():  # paths in a study file are relative to it
            os.chdir(folder)
        self._actions = import_module(module).actions()
        self._stall_timeout = stall_timeout

    def ready(self) -> None:
        """Return as soon as the actor runs."""

    def perform(self, request: RayRequest, files: Mapping[str, Files]) -> tuple[Outcome, Files]:
        """Perform a request in a temporary folder; return the outcome and the new files."""
        if isinstance(request, PlanRequest):
            return self._perform(request), {}
        with tempfile.TemporaryDirectory() as temporary:
            runs = Path(temporary)
            for name, data in files.items():
                _unpack(data, runs / name)
            if isinstance(request, TrainRequest):
                output, update = runs / request.run, {"folder": runs}
            else:
                output, update = runs / request.run.name, {"run": runs / request.run.name}
            outcome = self._perform(request.model_copy(update=update))
            if not isinstance(outcome, Done):
                return outcome, {}
            if isinstance(request, TrainRequest) and not output.exists():
                output = paused_runs(runs, request.run)[-1].path
            before = files[output.name] if isinstance(request, MeasureRequest) else {}
            return outcome, {
                name: data for name, data in _pack(output).items() if before.get(name) != data
            }

    def _perform(self, request: RayRequest) -> Outcome:
        return perform_with_watchdog(request, self._actions, self._stall_timeout, lambda _: None)


def _input_runs(request: Request, runs: Path) -> Iterator[str]:
    """Yield the names of the folders that a request reads.

    These are the pauses of the run, the measured or continued run, and where it has a head those
    before it in a sequence of tasks, which have the other tasks' heads.
    """
    match request:
        case MeasureRequest():
            name = request.run.name
        case TrainRequest():
            yield from (paused.path.name for paused in paused_runs(runs, request.run))
            name = request.config.continue_from
        case _:
            name = None
    while name:
        yield name
        record = Run(runs / name).record
        name = record.config.continue_from if "head" in record.depends_on else None


def _connect() -> Any:
    """Connect Ray to the cluster of RAY_ADDRESS, or else to a new one on this machine."""
    try:
        import ray
    except ImportError as error:
        raise InputError(f"--engine ray needs Ray: {install_command('cluster')}") from error
    if not ray.is_initialized():
        local: dict[str, Any] = (
            {} if "RAY_ADDRESS" in os.environ else {"_node_ip_address": "127.0.0.1"}
        )
        ray.init(log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR, **local)
    return ray


def _capacity(nodes: Iterable[Mapping[str, Any]], needs: Mapping[str, float]) -> int:
    """Count the workers that fit on the living nodes."""
    names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
    required = {names[key]: value for key, value in needs.items() if value}
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    return sum(min(int(node.get(k, 0) // v) for k, v in required.items()) for node in alive)


def _pack(folder: Path) -> Files:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def _unpack(files: Files, folder: Path) -> None:
    """Write files into a folder."""
    for name, data in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
