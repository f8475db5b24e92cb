import pytest

from peftlens.errors import InputError
from peftlens.io import hardware
from peftlens.io.hardware import Allocation, allocate

GB = 10**9


@pytest.fixture
def big(monkeypatch):
    """A machine with 8 cores and 32 GB."""
    monkeypatch.setattr(hardware, "cores", lambda: 8)
    monkeypatch.setattr(hardware, "memory_bytes", lambda: 32 * GB)


def test_this_machine_has_something():
    assert hardware.cores() >= 1
    assert hardware.memory_bytes() > GB


@pytest.mark.parametrize(
    ("runs", "gigabytes", "requested", "expected"),
    [
        (100, 2, {}, Allocation(8, 1)),  # a run a core
        (3, 2, {}, Allocation(3, 1)),  # no worker without work; sums round as with 100 runs
        (100, 10, {}, Allocation(3, 2)),  # memory holds three runs
        (1, 10, {}, Allocation(1, 2)),
        (100, 100, {}, Allocation(1, 8)),
        (100, 2, {"workers": 2}, Allocation(2, 1)),  # as with eight: the same bytes
        (100, 2, {"threads": 4}, Allocation(2, 4)),
        (100, 2, {"workers": 1, "threads": 8}, Allocation(1, 8)),
    ],
)
@pytest.mark.usefixtures("big")
def test_runs_share_cores_and_memory(runs, gigabytes, requested, expected):
    assert allocate(runs, gigabytes * GB, **requested) == expected


@pytest.mark.usefixtures("big")
def test_more_threads_than_cores_are_refused():
    with pytest.raises(InputError, match="3 workers with 4 threads each need 12 cores, .* has 8"):
        allocate(10, GB, workers=3, threads=4)


@pytest.mark.usefixtures("big")
def test_a_worker_a_gpu(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert allocate(9, GB, gpu_bytes=[8 * GB] * 2) == Allocation(2, 4, (("0",), ("1",)))
    assert allocate(1, GB, gpu_bytes=[8 * GB] * 2) == Allocation(1, 4, (("0",),))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,6,7")
    shared = allocate(9, 12 * GB, gpu_bytes=[8 * GB] * 4)  # a base that needs two
    assert shared == Allocation(2, 4, (("3", "5"), ("6", "7")))
    assert shared.environments()[1]["CUDA_VISIBLE_DEVICES"] == "6,7"
    with pytest.raises(
        InputError, match="3 workers need 6 GPUs, and there are 4; give --workers 2"
    ):
        allocate(9, 12 * GB, gpu_bytes=[8 * GB] * 4, workers=3)


def test_in_words():
    assert Allocation(2, 1).in_words() == "2, 1 thread each"
    assert (
        Allocation(2, 3).environments()
        == [{"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "3"}] * 2
    )
