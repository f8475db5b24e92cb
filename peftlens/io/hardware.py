"""Hardware: cores, memory and GPUs of this machine, and their allocation to workers."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import joblib
import psutil

from peftlens.errors import InputError


def cores() -> int:
    """Number of cores available to this process; a container or scheduler may limit it."""
    return joblib.cpu_count()


def memory_bytes() -> int:
    """Memory limit of this process in bytes, regardless of what other processes use now."""
    total = psutil.virtual_memory().total
    limit = Path("/sys/fs/cgroup/memory.max")  # the container's limit
    text = limit.read_text(encoding="utf-8").strip() if limit.exists() else "max"
    return min(total, int(text)) if text.isdigit() else total


@dataclass(frozen=True)
class Allocation:
    """Allocation of a machine to workers.

    Attributes:
        workers: number of processes that train at the same time.
        threads: number of threads per worker.
        gpus: GPUs of each worker, as numbers of CUDA_VISIBLE_DEVICES; empty without GPUs.
    """

    workers: int
    threads: int
    gpus: tuple[tuple[str, ...], ...] = ()

    def environments(self) -> list[dict[str, str]]:
        """Environment variables of each worker, to be set before it loads its libraries."""
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        common: dict[str, str] = {name: str(self.threads) for name in names}
        if not self.gpus:
            return [common] * self.workers
        return [common | {"CUDA_VISIBLE_DEVICES": ",".join(seen)} for seen in self.gpus]

    def in_words(self) -> str:
        """Describe the allocation, such as `2, 1 thread each`."""
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''} each"
        return f"{self.workers}, {threads}" + (f", GPUs {self.gpus}" if self.gpus else "")


def allocate(
    runs: int,
    bytes_per_run: int,
    *,
    gpu_bytes: Sequence[int] | None = None,
    workers: int | None = None,
    threads: int | None = None,
) -> Allocation:
    """Allocate the machine's cores and GPUs to workers.

    Without a GPU a run has one thread, and as many runs are trained at once as there are cores:
    two threads on two cores take more than half of one thread's time. A run gets more threads only
    where memory holds fewer runs than there are cores. The number of threads decides how sums
    round, so it depends on the machine and on the memory of a run, but not on the number of workers
    requested or of runs left.

    Args:
        runs: number of runs, the upper limit for the number of workers.
        bytes_per_run: memory of the largest run, bytes.
        gpu_bytes: memory of each GPU used for training, bytes.
        workers: number of workers; by default as many as fit.
        threads: number of threads per worker; by default one.

    Raises:
        InputError: the machine has too few cores or GPUs for `workers`.
    """
    if gpu_bytes:
        return _of_gpus(runs, bytes_per_run, gpu_bytes, workers, threads)
    available = cores()
    room = max(1, memory_bytes() // bytes_per_run)
    threads = threads or max(1, available // room)
    wanted = workers or max(1, min(available // threads, room, runs))
    if wanted * threads > available:
        raise InputError(
            f"{wanted} workers with {threads} threads each need {wanted * threads} cores, and this "
            f"machine has {available}; give --workers {max(1, available // threads)}"
        )
    return Allocation(wanted, threads)


def _of_gpus(
    runs: int,
    bytes_per_run: int,
    gpu_bytes: Sequence[int],
    workers: int | None,
    threads: int | None,
) -> Allocation:
    """Allocate one worker per GPU, or per group of GPUs where the base model needs several."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = visible.split(",") if visible else [str(index) for index in range(len(gpu_bytes))]
    each = min(len(names), gpus_per_run(bytes_per_run, gpu_bytes))
    groups = [tuple(names[i : i + each]) for i in range(0, len(names) - each + 1, each)]
    wanted = workers or min(len(groups), runs)
    if wanted > len(groups):
        raise InputError(
            f"{wanted} workers need {wanted * each} GPUs, and there are {len(names)}; "
            f"give --workers {len(groups)}"
        )
    return Allocation(wanted, threads or max(1, cores() // len(groups)), tuple(groups[:wanted]))


def gpus_per_run(bytes_per_run: int, gpu_bytes: Sequence[int]) -> int:
    """How many GPUs hold a run: one, unless its base needs several."""
    return -(-bytes_per_run // min(gpu_bytes))
