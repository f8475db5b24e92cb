"""What this machine has to share out among workers: cores, memory, GPUs."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import joblib
import psutil

from peftlens.errors import InputError


def cores() -> int:
    """Cores that this process may use: a container or a scheduler may give fewer than there are."""
    return joblib.cpu_count()


def memory_bytes() -> int:
    """Memory that this process may use, whatever others use of it now."""
    total = psutil.virtual_memory().total
    limit = Path("/sys/fs/cgroup/memory.max")  # a container's
    text = limit.read_text().strip() if limit.exists() else "max"
    return min(total, int(text)) if text.isdigit() else total


@dataclass(frozen=True)
class Allocation:
    """How a machine is shared out.

    Attributes:
        workers: processes that train at the same time.
        threads: of each.
        gpus: what each may see, by the numbers in CUDA_VISIBLE_DEVICES; empty without GPUs.
    """

    workers: int
    threads: int
    gpus: tuple[tuple[str, ...], ...] = ()

    def environments(self) -> list[dict[str, str]]:
        """Variables of each worker; they have to be set before its libraries are loaded."""
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        common: dict[str, str] = {name: str(self.threads) for name in names}
        if not self.gpus:
            return [common] * self.workers
        return [common | {"CUDA_VISIBLE_DEVICES": ",".join(seen)} for seen in self.gpus]

    def in_words(self) -> str:
        """Such as `2, 1 thread each`."""
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''} each"
        return f"{self.workers}, {threads}" + (f", GPUs {self.gpus}" if self.gpus else "")


def allocate(
    runs: int,
    bytes_a_run: int,
    *,
    gpu_bytes: Sequence[int] | None = None,
    workers: int | None = None,
    threads: int | None = None,
) -> Allocation:
    """Share the machine out among runs.

    Without a GPU a run has one thread, and as many runs are trained at once as there are cores:
    two threads on two cores take more than half of one thread's time. Only where memory holds fewer
    runs does each get more. The number of threads decides how sums round, so it depends on the
    machine and on what a run needs, and not on how many workers were asked for or runs are left.

    Args:
        runs: there is no use for more workers.
        bytes_a_run: memory of the largest.
        gpu_bytes: memory of each GPU that runs are trained on.
        workers: instead of as many as there is room for.
        threads: of each, instead of one.

    Raises:
        InputError: there are fewer cores than that.
    """
    if gpu_bytes:
        return _of_gpus(runs, bytes_a_run, gpu_bytes, workers, threads)
    here = cores()
    room = max(1, memory_bytes() // bytes_a_run)
    threads = threads or max(1, here // room)
    wanted = workers or max(1, min(here // threads, room, runs))
    if wanted * threads > here:
        raise InputError(
            f"{wanted} workers with {threads} threads each need {wanted * threads} cores, and this "
            f"machine has {here}; give --workers {max(1, here // threads)}"
        )
    return Allocation(wanted, threads)


def _of_gpus(
    runs: int, bytes_a_run: int, gpu_bytes: Sequence[int], workers: int | None, threads: int | None
) -> Allocation:
    """A worker for each GPU, or for as many GPUs as the base needs."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = visible.split(",") if visible else [str(index) for index in range(len(gpu_bytes))]
    each = min(len(names), gpus_per_run(bytes_a_run, gpu_bytes))
    groups = [tuple(names[i : i + each]) for i in range(0, len(names) - each + 1, each)]
    wanted = workers or min(len(groups), runs)
    if wanted > len(groups):
        raise InputError(
            f"{wanted} workers need {wanted * each} GPUs, and there are {len(names)}; "
            f"give --workers {len(groups)}"
        )
    return Allocation(wanted, threads or max(1, cores() // len(groups)), tuple(groups[:wanted]))


def gpus_per_run(bytes_a_run: int, gpu_bytes: Sequence[int]) -> int:
    """How many GPUs hold a run: one, unless its base needs several."""
    return -(-bytes_a_run // min(gpu_bytes))
