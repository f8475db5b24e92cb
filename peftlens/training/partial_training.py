"""Partial training: train a run until a step, score it there on validation, and pause it.

So many configurations can be trained to a first step, and the best of them further: successive
halving (Jamieson & Talwalkar 2016, arXiv:1502.07943).
"""

from collections.abc import Sequence
from pathlib import Path

from peftlens.runs.paused import PausedRun, latest, paused_run
from peftlens.runs.run import Run
from peftlens.runs.store import build
from peftlens.training.batched_trainer import train_together
from peftlens.training.pause import require_pausable
from peftlens.training.run_plan import RunPlan
from peftlens.training.trainer import train_in


def train_until(planned: RunPlan, out: Path, step: int) -> Run | PausedRun:
    """Train a planned run until a step, score it there on the validation split, and pause it.

    `trainer.train_run` resumes it, or this function with a later step, in another process, too.
    But for its times the run is the same as one that is never paused, byte for byte.

    Args:
        planned: plan of the run.
        out: folder of runs.
        step: step after which the run is paused, before its last one.

    Returns:
        The paused run with its scores; the finished run if it is finished, or diverged before.

    Raises:
        InputError: the step is not before the last one, or the method's runs can't be paused.
        RunLockedError: another process is training it.
        RuntimeError: the method changed the base, so that its adapter is incomplete.
    """
    require_pausable(planned, step)

    def write(folder: Path) -> None:
        paused = latest(out, planned.id, step)
        if paused and paused.step == step:
            folder.rmdir()
        else:
            train_in(folder, planned, out, paused, step)

    finished = build(out, planned.id, write)
    return Run(finished) if finished.exists() else paused_run(out, planned.id, step)


def train_runs_until(plans: Sequence[RunPlan], out: Path, step: int) -> list[Run | PausedRun]:
    """Train planned runs of one `batch_key` in one pass until a step, and pause them.

    They may be resumed in other company, or each alone: equal up to rounding, as runs of one pass
    are anyway.

    Returns:
        What `train_until` does, without the runs that another process is training.

    Raises:
        InputError: the step is not before the last one.
        RuntimeError: the method changed the base, so that its adapters are incomplete.
    """
    for planned in plans:
        require_pausable(planned, step)
    train_together(plans, out, step)
    found = [(Run(out / plan.id), paused_run(out, plan.id, step)) for plan in plans]
    return [one for both in found for one in both if one.path.exists()]
