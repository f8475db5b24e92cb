"""Opening and closing of a study's pools of workers, as its options and its plan demand."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from peftlens.io.hardware import Allocation, gpus_per_run
from peftlens.studies.local_pool import InProcessPool, LocalPool
from peftlens.studies.options import StudyOptions
from peftlens.studies.plan import StudyPlan
from peftlens.studies.scheduler import WorkerPool

Pool = TypeVar("Pool", bound=WorkerPool)


def open_local_pool(options: StudyOptions) -> InProcessPool | LocalPool:
    """Create the local pool, with one worker until the plan gives the memory per run."""
    if options.workers == 0:
        return InProcessPool(options.module)
    environments = Allocation(1, options.threads or 1).environments()
    return LocalPool(environments, options.stall_timeout, options.module)


def open_ray_pool(out: Path, options: StudyOptions, plan: StudyPlan | None = None) -> WorkerPool:
    """Create the pool on a cluster: one worker for planning, or as many as there is room for."""
    from peftlens.studies.ray_pool import RayPool

    needs = {"num_cpus": options.threads or 1}
    if plan and plan.gpu_bytes:
        needs["num_gpus"] = gpus_per_run(plan.bytes_per_run, plan.gpu_bytes)
    elif plan:
        needs["memory"] = plan.bytes_per_run
    return RayPool(
        out / "runs",
        needs,
        workers=options.workers if plan else 1,
        stall_timeout=options.stall_timeout,
        module=options.module,
    )


@contextmanager
def closing(pool: Pool) -> Iterator[Pool]:
    """Close a pool after the block; after an exception without waiting for jobs."""
    try:
        yield pool
    except BaseException:
        pool.close(now=True)
        raise
    pool.close(now=False)
