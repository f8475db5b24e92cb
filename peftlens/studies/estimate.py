"""What a study will take, before anything is trained."""

import math
import shutil
from collections import defaultdict
from pathlib import Path

import pandas as pd

from peftlens.adapters.run_context import RunContext
from peftlens.io.progress import track
from peftlens.models.architecture import blocks
from peftlens.runs.run import sweeps
from peftlens.studies.config import read_text
from peftlens.studies.grid import plan_study
from peftlens.training.run_plan import RunPlan
from peftlens.training.trainer import DryRun, dry_run


def estimate(
    file: str | Path, *, full: bool = False, trust_remote_code: bool = False
) -> pd.DataFrame:
    """A row for each configuration, all its rates and seeds together.

    Columns: configuration, without the learning rate; runs; trainable_parameters; flops, of all its
    runs; seconds, of all their training; memory_bytes, of one run with its base; disk_bytes, of
    what all its runs save. Time and memory come from three steps of its first run on this machine;
    memory is missing where the system does not say.

    Raises:
        InputError: the study can't be carried out.
    """
    text = read_text(Path(file))
    context = RunContext(trust_remote_code=trust_remote_code)
    grid = plan_study(text, str(file), context, full=full)
    names, groups = sweeps(grid.plans), defaultdict[str, list[RunPlan]](list)
    for one in grid.plans:
        groups[names[one.id]].append(one)
    return pd.DataFrame(
        [_row(name, members) for name, members in track(list(groups.items()), "Trying out")]
    )


def _row(name: str, members: list[RunPlan]) -> dict[str, object]:
    first, tried = members[0], dry_run(members[0])
    steps = sum(member.config.training.max_steps for member in members)
    saved = sum(1 + len(member.config.training.checkpoint_steps) for member in members)
    return {
        "configuration": name,
        "runs": len(members),
        "trainable_parameters": tried.trainable_parameters,
        "flops": steps * step_flops(first, tried),
        "seconds": steps * (tried.step_seconds or 0.0),
        "memory_bytes": None
        if tried.peak_memory_bytes is None
        else first.base.model.get_memory_footprint() + tried.peak_memory_bytes,
        "disk_bytes": saved * tried.adapter_bytes,
    }


def step_flops(one: RunPlan, tried: DryRun) -> float:
    """Floating-point operations of a training step: tokens (4 N + 2 T).

    2 N a token forward and 2 N for the gradients of what it computed, N the parameters of the
    blocks; 2 T for the gradients of what is trained. With T = N that is the usual 6 N (Kaplan et
    al. 2020, arXiv:2001.08361, section 2.1). Attention over the row's own length, virtual tokens,
    and the head, which reads the answers' tokens alone, are left out.
    """
    inside = tuple(f"{block}." for block in blocks(one.shapes))
    numbers = sum(math.prod(shape) for name, shape in one.shapes.items() if name.startswith(inside))
    return tried.tokens * (4 * numbers + 2 * tried.trainable_parameters)


def in_words(frame: pd.DataFrame, folder: Path) -> str:
    """The sums in a sentence, and whether the disk has room.

    Args:
        frame: what `forecast` gave.
        folder: where the study would lie.
    """
    minutes, disk = frame["seconds"].sum() / 60, int(frame["disk_bytes"].sum())
    time = f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
    free = shutil.disk_usage(folder).free
    told = f"{frame['runs'].sum()} runs, about {time} of training one by one, "
    told += f"{disk / 1e6:,.0f} MB on disk"
    if frame["memory_bytes"].notna().all():
        told += f", {frame['memory_bytes'].max() / 1e9:.1f} GB of memory at the highest"
    room = "" if disk < free else f" The disk has {free / 1e6:,.0f} MB free: too little."
    return f"{told}.{room}"
