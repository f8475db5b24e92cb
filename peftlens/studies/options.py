"""Options and outcome of one call of a study."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from peftlens.runs.run import Run
from peftlens.studies.plan import PlannedRun


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """Options of one call; apart from `full_scale` they change results only by rounding.

    Attributes:
        workers: number of runs trained at the same time; by default as many as the machine has
            room for; 0 for training in this process.
        threads: number of threads per worker; see `hardware.allocate`.
        runs_per_pass: highest number of runs trained in one pass over the base model, see
            layers/batched_adapters.py; by default several on a GPU and one on a CPU, where batches
            are no faster.
        full_scale: whether to run the larger study of the file's table [full_scale].
        engine: location of the workers: processes on this machine, or a Ray cluster.
        shard: (i, n) for the i-th of n parts of the study, counted from 1.
        filter: patterns such as `lora*`; see `run_selection.select_runs`.
        select: further selection of runs, by their plans; None for all.
        pause_after: share of the steps, above 0 and below 1, after which a run is scored on the
            validation split and paused; None to train to the end. Runs that can't be paused, see
            `PlannedRun.pausable`, are trained to their end.
        retry_failed: whether to retry runs that failed before; probes are always retried.
        stall_timeout: seconds without progress after which a worker counts as hung; 0 for never.
        show: function that shows the tables in the study's folder, called while it runs, too, each
            time they have rows of more runs; None to write them at the end only.
        module: name of the module with the workers' actions.
    """

    workers: int | None = None
    threads: int | None = None
    runs_per_pass: int | None = None
    full_scale: bool = False
    engine: Literal["local", "ray"] = "local"
    shard: tuple[int, int] | None = None
    filter: tuple[str, ...] = ()
    select: Callable[[PlannedRun], bool] | None = None
    pause_after: float | None = None
    retry_failed: bool = False
    stall_timeout: float = 3600
    show: Callable[[], object] | None = None
    module: str = "peftlens.studies.worker"


@dataclass(frozen=True)
class StudyOutcome:
    """Outcome of one call.

    Attributes:
        folder: folder of the study.
        runs: finished runs, in the study's order.
        failed: one line for each run or probe that failed, in this call or an earlier one.
        left: number of runs that are neither finished nor failed: locked by other processes,
            paused, or outside of the selection.
        planned: plans of all runs of the study, in its order.
    """

    folder: Path
    runs: tuple[Run, ...]
    failed: tuple[str, ...]
    left: int
    planned: tuple[PlannedRun, ...] = ()
