"""Weights & Biases: runs with history, configuration and summary, offline by default."""

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peftlens.errors import InputError
from peftlens.export.experiment_run import ExperimentRun, Exported, tracker

_FORBIDDEN = re.compile(r"[/\\#?%:]")  # in names of projects
_MODES = ("offline", "online")
_LONGEST = 128  # characters of a project or group


def export(
    runs: Sequence[ExperimentRun], place: Path | None = None, project: str | None = None
) -> Exported:
    """Write the runs under their own ids, so that a run that was exported before is replaced.

    Nothing leaves the machine unless WANDB_MODE is online.

    Args:
        runs: runs to write.
        place: folder in which W&B makes its folder `wandb`; the working directory by default.
        project: name of the project; the study's by default.

    Raises:
        InputError: wandb is not installed, writes nothing, or refuses the login or the project.
    """
    wandb = tracker("wandb", "wandb")
    place = (place or Path()).absolute()
    place.mkdir(parents=True, exist_ok=True)
    if (mode := os.environ.get("WANDB_MODE", "offline")) not in _MODES:
        raise InputError(f"WANDB_MODE={mode} writes nothing; set it to {' or '.join(_MODES)}")
    for run in runs:
        for old in (place / "wandb").glob(f"offline-run-*-{run.id}"):
            shutil.rmtree(old)
        try:
            _write(wandb, run, place, mode, project or run.study)
        except (wandb.errors.UsageError, wandb.errors.CommError) as error:
            line = " ".join(str(error).split())
            raise InputError(f"W&B refuses run {run.id}: {line}") from error
    hint = f"wandb sync {place / 'wandb'}/offline-run-* uploads them" if mode == "offline" else ""
    return Exported(place=str(place / "wandb"), written=len(runs), hint=hint)


def _write(wandb: Any, run: ExperimentRun, place: Path, mode: str, project: str) -> None:
    settings = wandb.Settings(
        silent=True, console="off", disable_git=True, disable_code=True, save_code=False,
        x_disable_stats=True, x_disable_meta=True,  # this machine may not be the training's
    )  # fmt: skip
    started = wandb.init(
        project=_FORBIDDEN.sub("-", project)[:_LONGEST],
        id=run.id,
        name=run.name,
        group=run.group[:_LONGEST],
        job_type=run.method[:64],
        config=dict(run.hyperparameters),
        dir=str(place),
        mode=mode,
        settings=settings,
        reinit="finish_previous",
    )
    for step, values in run.history.items():
        started.log(dict(values), step=step)
    started.summary.update(dict(run.results))
    started.finish(exit_code=0 if run.status == "finished" else 1)
