"""Estimate of a study's time, memory, disk space and operations before it is trained."""

import shutil
from collections import defaultdict
from pathlib import Path

import pandas as pd

from peftlens.io.progress import track
from peftlens.numerics.counts import counted, duration
from peftlens.runs.configuration_names import sweeps
from peftlens.studies.forecast import block_parameters, operations_per_token
from peftlens.studies.grid import StudyGrid
from peftlens.training.dry_run import DryRun, dry_run
from peftlens.training.run_plan import RunPlan


def estimate(grid: StudyGrid) -> pd.DataFrame:
    """Estimate the cost of a study, one row per configuration over all its rates and seeds.

    Columns: configuration: its name without the learning rate; runs: number of runs;
    trainable_parameters: parameters per run; flops: operations of all runs; seconds: training time
    of all runs; memory_bytes: memory of one run with its base model; disk_bytes: saved bytes of all
    runs. Time and memory are measured in three steps of the first run on this machine; memory is
    missing where the system does not report it.
    """
    names, groups = sweeps(grid.plans), defaultdict[str, list[RunPlan]](list)
    for run_plan in grid.plans:
        groups[names[run_plan.id]].append(run_plan)
    return pd.DataFrame(
        [_row(name, members) for name, members in track(list(groups.items()), "Trying out")]
    )


def _row(name: str, members: list[RunPlan]) -> dict[str, object]:
    first, trial = members[0], dry_run(members[0])
    steps = sum(member.config.training.max_steps for member in members)
    saved = sum(1 + len(member.config.training.checkpoint_steps) for member in members)
    return {
        "configuration": name,
        "runs": len(members),
        "trainable_parameters": trial.trainable_parameters,
        "flops": steps * step_flops(first, trial),
        "seconds": steps * (trial.step_seconds or 0.0),
        "memory_bytes": None
        if trial.peak_memory_bytes is None
        else first.base.model.get_memory_footprint() + trial.peak_memory_bytes,
        "disk_bytes": saved * trial.adapter_bytes,
    }


def step_flops(run_plan: RunPlan, trial: DryRun) -> float:
    """Estimate the floating-point operations of a training step.

    The tokens of its rows times `operations_per_token`; virtual tokens are left out.
    """
    parameters = block_parameters(run_plan.shapes)
    return trial.tokens * operations_per_token(parameters, trial.trainable_parameters)


def in_words(frame: pd.DataFrame, folder: Path) -> str:
    """Describe the total cost in words, with a warning where the disk is too small.

    Args:
        frame: result of `estimate`.
        folder: a folder on the study's disk.
    """
    time, disk = duration(frame["seconds"].sum()), int(frame["disk_bytes"].sum())
    free = shutil.disk_usage(folder).free
    sentence = f"{counted(int(frame['runs'].sum()), 'run')}, about {time} of training one by one, "
    sentence += f"{disk / 1e6:,.0f} MB on disk"
    if frame["memory_bytes"].notna().all():
        sentence += f", {frame['memory_bytes'].max() / 1e9:.1f} GB of memory at the highest"
    room = "" if disk < free else f" The disk has {free / 1e6:,.0f} MB free: too little."
    return f"{sentence}.{room}"
