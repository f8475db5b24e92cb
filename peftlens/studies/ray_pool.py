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
from peftlens.results.outcomes import Message
from peftlens.runs import store
from peftlens.studies.worker_protocol import Task, outcome_of, watched

Files = dict[str, bytes]  # by their paths in a run's folder


class RayPool:
    """A slot for each run that the cluster has CPUs or GPUs for; see `scheduler.WorkerPool`.

    Args:
        runs: the study's folder of runs, on this machine.
        needs: of each worker: `num_cpus`, `num_gpus`, `memory` in bytes, as Ray counts them.
        workers: instead of as many as there is room for.
        limit: see `scheduler.LocalPool`.
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
        limit: float = 0,
        module: str = "peftlens.studies.worker",
    ) -> None:
        self._ray = _started()
        self._runs = runs
        self._limit, self._module = limit, module
        self._worker = self._ray.remote(**needs, max_restarts=0)(_Actor)
        room = _room(self._ray.nodes(), needs)
        if not room:
            raise InputError(
                f"no node of the Ray cluster has room for a worker, which needs {needs}"
            )
        self.slots = min(workers or room, room)
        self._actors: dict[int, Any] = {}
        self._coming: dict[Any, int] = {}  # slots whose actor waits for a node, by its first sign
        self._answers: dict[Any, tuple[int, Task]] = {}
        self._held: dict[int, ExitStack] = {}
        self._ready: list[tuple[int, Message]] = []
        for slot in range(self.slots):
            self._start(slot)

    def _start(self, slot: int) -> None:
        self._actors[slot] = self._worker.remote(self._module, self._limit, os.getcwd())
        self._coming[self._actors[slot].ready.remote()] = slot

    def accepts(self, slot: int) -> bool:
        """Whether the slot's actor runs; after a node was lost there may be no room for it."""
        return slot not in self._coming.values()

    def submit(self, slot: int, task: Task) -> None:
        """Send a task to the slot's actor with the files that it reads."""
        self._held[slot] = held = ExitStack()
        if task["do"] == "train":
            run = task["with"]["run"]
            try:
                held.enter_context(store.lock_run(self._runs, run))
            except store.RunLockedError as error:
                self._ready.append((slot, outcome_of(error)))
                return
            if (self._runs / run).exists():
                self._ready.append((slot, {"done": "finished by another process"}))
                return
        read = _read_by(task)
        files = _pack(self._runs / read) if read else {}
        answer = self._actors[slot].do.remote(task, read, files)
        self._answers[answer] = slot, task

    def poll(self, seconds: float) -> Iterable[tuple[int, Message]]:
        """Outcomes; what a worker made is on this machine's disk by then."""
        while self._ready:
            slot, message = self._ready.pop()
            self._held.pop(slot).close()
            yield slot, message
        waiting = [*self._answers, *self._coming]
        for answer in self._ray.wait(waiting, timeout=seconds)[0] if waiting else ():
            if answer in self._coming:
                self._arrived(answer)
                continue
            slot, task = self._answers.pop(answer)
            with self._held.pop(slot):
                yield slot, self._outcome(answer, slot, task)

    def _arrived(self, sign: Any) -> None:
        slot = self._coming.pop(sign)
        try:
            self._ray.get(sign)
        except self._ray.exceptions.RayError as error:
            if "creation task" in str(error):  # it would fail again, wherever it runs
                raise RuntimeError(f"a worker can't be started: {_line(error)}") from error
            self._start(slot)

    def _outcome(self, answer: Any, slot: int, task: Task) -> Message:
        try:
            message, files = self._ray.get(answer)
        except self._ray.exceptions.RayError as error:  # the actor died, or its node
            self._start(slot)
            # one that ended itself, for instance because it hung, would do it again
            again = "exit code" not in str(error)
            return {"died": f"the worker was lost: {_line(error)}", "again": again, "log": ""}
        if "done" in message:
            try:
                self._keep(task, files)
            except OSError as error:
                return outcome_of(error)
        return message

    def _keep(self, task: Task, files: Files) -> None:
        if task["do"] == "train":
            with new_folder(self._runs / task["with"]["run"]) as folder:
                _unpack(files, folder)
            return
        for name, data in files.items():
            target = Path(task["with"]["run"]) / name
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

    def __init__(self, module: str, limit: float, folder: str) -> None:
        if Path(folder).is_dir():  # names of files in a study are relative to it
            os.chdir(folder)
        self._actions = import_module(module).actions()
        self._limit = limit

    def ready(self) -> None:
        """Tell that it runs."""

    def do(self, task: Task, read: str | None, files: Files) -> tuple[Message, Files]:
        """Do a task in a folder of its own; returns the outcome and the files that it made."""
        if task["do"] == "plan":
            return self._perform(task), {}
        with tempfile.TemporaryDirectory() as temporary:
            runs = Path(temporary)
            if read:
                _unpack(files, runs / read)
            if task["do"] == "measure":
                made, here = runs / str(read), {"run": str(runs / str(read))}
            else:
                made, here = runs / task["with"]["run"], {"runs": temporary}
            message = self._perform({"do": task["do"], "with": dict(task["with"]) | here})
            if "done" not in message:
                return message, {}
            known = files if task["do"] == "measure" else {}  # of the same run
            return message, {n: d for n, d in _pack(made).items() if known.get(n) != d}

    def _perform(self, task: Task) -> Message:
        return watched(task, self._actions, self._limit, lambda _: None)


def _read_by(task: Task) -> str | None:
    """The run whose files a task reads."""
    if task["do"] == "measure":
        return Path(task["with"]["run"]).name
    return task["with"]["config"]["after"] if task["do"] == "train" else None


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
