"""Tasks, one file per data set or source; the file name is the task's name.

A task file has Config and `load(config)`, which returns examples in fixed splits.
"""

import json
import logging
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftlens import registry
from peftlens.data.task import Task
from peftlens.errors import InputError
from peftlens.io.escaping import visible
from peftlens.io.files import canonical_json
from peftlens.results.table import NotApplicable
from peftlens.runs.trained_model import TrainedModel

if TYPE_CHECKING:
    from peftlens.models.model_kind import Kind as ModelKind

_LOG = logging.getLogger("peftlens")


def load_task(name: str, options: dict[str, Any]) -> Task:
    """Load a task by the name that users write: a file here, file:PATH or hub:org/name.

    Cached until the file changes: all runs and probes of a study load the same task. Its notes
    are logged as warnings.

    Raises:
        InputError: no such task, or its data can't be used.
    """
    if name.startswith("lm_eval:"):
        raise InputError(
            f"{name!r} is a task of lm-evaluation-harness, which scores models and has nothing to "
            "train on or to read here; name it in the suites of forgetting, or in the tasks of "
            "harness_items"
        )
    return _load(name, canonical_json(options), _stamp(name))


def load_for_kind(
    name: str, options: dict[str, Any], kind: "ModelKind"
) -> tuple[Task, dict[str, Any]]:
    """Load a task for a base of some kind: on an encoder, a classification has a new head.

    Args:
        name: name of the task.
        options: options of the task.
        kind: kind of the base model.

    Returns:
        The task, and its options with that of the head.

    Raises:
        InputError: see `load_task`.
    """
    task = load_task(name, options)
    if kind == "encoder" and task.kind == "classification" and not task.needs_head:
        options = {**options, "head": "classification"}
        task = load_task(name, options)
    return task, options


def task_of(run: TrainedModel) -> Task:
    """The task that a run was trained on.

    Raises:
        InputError: its data have changed since, so a new test split could hold training examples.
        NotApplicable: the task is unknown.
    """
    if run.task is None:
        raise NotApplicable("it was trained elsewhere, on a task that it does not name")
    task = load_task(run.task, run.config.task_config)
    if task.sha256 != run.record.depends_on["data"]:
        raise InputError(
            f"run {run.id} was trained on other data: {run.config.task!r} has changed since; "
            "train it again"
        )
    return task


def _stamp(name: str) -> tuple[int, ...]:
    """Return a cache key that changes when a local file does."""
    path = Path(name.removeprefix("file:")).expanduser()
    if not name.startswith("file:") or not path.is_file():
        return ()
    return (path.stat().st_mtime_ns, path.stat().st_size)


@lru_cache(maxsize=8)
def _load(name: str, options: str, stamp: tuple[int, ...]) -> Task:  # noqa: ARG001  # only a cache key
    config = registry.configure("tasks", name, json.loads(options))
    task = registry.load("tasks", name).load(config)
    for note in task.notes:
        _LOG.warning("task %s: %s", name, visible(note))
    return task
