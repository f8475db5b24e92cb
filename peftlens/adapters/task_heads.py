"""Heads of a sequence of tasks: each task has its own head, on a body that is trained further.

A run that continues from another on a task of another name gets a new head; the heads of the tasks
before stay as they ended, in the folders of the runs before. So a task of the past is scored by the
latest head of it, on the body of the run: multi-head or task-incremental learning (van de Ven &
Tolias 2019, arXiv:1904.07734). A task of the future has the head with which it will start.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import peft
from torch import nn

from peftlens.adapters.checkpoint import (
    attach_new,
    attach_run,
    attached_head,
    head_tensors,
    load_state,
    require_base,
    state,
)
from peftlens.data.task import Task
from peftlens.errors import InputError
from peftlens.models.base_model import BaseModel
from peftlens.models.heads import Head
from peftlens.models.snapshot import restored_after
from peftlens.runs.run import Run
from peftlens.runs.trained_model import TrainedModel


def earlier_runs(run: TrainedModel) -> Iterator[Run]:
    """Yield the runs that a run continues from, the latest first.

    Raises:
        InputError: the folder of one of them is not where the run's folder is.
    """
    while run.config.continue_from:
        before = Run(run.path.parent / run.config.continue_from)
        if not (before.path / "run.json").is_file():
            raise InputError(
                f"run {run.id} continues from run {before.path.name}, which is not in "
                f"{before.path.parent}; put its folder there"
            )
        yield before
        run = before


def run_with_head(run: TrainedModel, task: str) -> TrainedModel | None:
    """Return the latest run of a sequence that was trained on a task, and so has its head.

    Args:
        run: last run of the sequence.
        task: name of the task.
    """
    if run.config.task == task:
        return run
    return next((one for one in earlier_runs(run) if one.config.task == task), None)


def load_for_training(model: nn.Module, run: Run, task: str) -> None:
    """Load the weights of another run into a newly attached model, to continue its training.

    Where the base has a head, a task of the sequence so far gets the head with which it ended, and
    another task keeps the new one.

    Args:
        model: model with the method attached, and a new head.
        run: the run to continue.
        task: name of the task to train.

    Raises:
        InputError: the run does not exist or diverged, it does not fit, or its method saves less
            than training needs.
    """
    if run.record.status == "diverged":
        raise InputError(f"run {run.id} diverged, so its training can't be continued")
    config = model.peft_config["default"] if isinstance(model, peft.PeftModel) else None
    if isinstance(config, peft.PromptEncoderConfig):
        raise InputError("p_tuning saves only its network's output, so it can't be trained further")
    before, now = Head.recorded(run.record.depends_on), attached_head(model)
    if _kind(before) != _kind(now):
        raise InputError(
            f"run {run.id} was trained with {_kind(before)}, and {task!r} needs {_kind(now)}; a "
            "sequence is of one kind: give all of its tasks head = 'classification', or none"
        )
    load_state(model, run.adapter(), head_tensors(model))
    if now and (source := run_with_head(run, task)):
        _load_head(model, source, task, now)


def _kind(head: Head | None) -> str:
    return f"a head of type {head.task_type}" if head else "no head"


def _load_head(model: nn.Module, source: TrainedModel, task: str, head: Head) -> None:
    """Load the head of a task from the run that was trained on it.

    Raises:
        InputError: the task has other classes now.
    """
    trained = Head.recorded(source.record.depends_on)
    if trained != head:
        raise InputError(
            f"run {source.id} was trained on other classes of {task!r} "
            f"({', '.join(trained.labels) if trained else 'none'}) than it has now "
            f"({', '.join(head.labels)}); train it again"
        )
    load_state(model, source.adapter(), state(model).keys() - head_tensors(model))


@contextmanager
def open_on_task(run: TrainedModel, base: BaseModel, task: Task) -> Iterator[nn.Module]:
    """Attach a run, with the head of a task of its sequence, for the duration of the block.

    Args:
        run: a finished run.
        base: its base model, with the head of the task; without any for a language model, which
            scores all tasks alike.
        task: the task.

    Raises:
        InputError: the run was trained by another program on another task, or its sequence on other
            classes of the task; see also `checkpoint.attach_run`.
    """
    with restored_after(base.model):
        yield _attach_on_task(run, base, task)


def _attach_on_task(run: TrainedModel, base: BaseModel, task: Task) -> nn.Module:
    if base.head is None or run.config.task == task.name:
        return attach_run(run, base)
    if not run.is_reproducible:
        raise InputError(
            f"run {run.id} was trained by another program, and has no head for {task.name!r}; "
            "score it on its own task"
        )
    require_base(run, base)
    model = attach_new(run, base, task.sha256)
    load_state(model, run.adapter(), head_tensors(model))
    if source := run_with_head(run, task.name):
        _load_head(model, source, task.name, base.head)
    return model.eval()
