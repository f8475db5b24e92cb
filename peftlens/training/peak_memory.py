"""Peak memory of a piece of work, above the memory in use before it."""

import ctypes
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # options of malloc in GNU's C library
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class PeakMemory:
    """Measurement of peak memory since `start`; one at a time: the system keeps one peak.

    Attributes:
        device: device whose memory is measured.
    """

    device: str
    _before: int | None

    @classmethod
    def start(cls, device: str) -> "PeakMemory":
        """Reset the peak and record the memory in use.

        Args:
            device: torch device; for cuda the allocations on the GPU are measured, otherwise the
                resident set, whose peak only Linux can reset.
        """
        try:
            _reset_peak(device)
            before = torch.cuda.memory_allocated() if device == "cuda" else _status_bytes("VmRSS")
        except OSError:
            before = None
        return cls(device, before)

    def restart(self) -> None:
        """Reset the peak to the memory in use now; memory in use at `start` is still subtracted."""
        if self._before is not None:
            _reset_peak(self.device)

    def bytes(self) -> int | None:
        """Return the peak since the start minus the memory in use then; None if not measurable."""
        if self._before is None:
            return None
        if self.device == "cuda":
            return torch.cuda.max_memory_allocated() - self._before
        return _status_bytes("VmHWM") - self._before


@contextmanager
def heap_without_holes() -> Iterator[None]:
    """Return freed arrays to the system at once within the block, so that peaks repeat exactly.

    Otherwise GNU's C library keeps arrays of up to 32 MB in a heap, whose holes are memory in use:
    a fifth of a small model's training, and another amount in every process. New pages cost time,
    so times are measured outside of the block.
    """
    _set_malloc_option(_MMAP_THRESHOLD, 2**16)
    try:
        yield
    finally:
        # where the library's own, moving threshold ends up with large arrays
        _set_malloc_option(_MMAP_THRESHOLD, 2**25)
        _set_malloc_option(_TRIM_THRESHOLD, 2**26)


def _set_malloc_option(option: int, value: int) -> None:
    if set_option := _c_function("mallopt"):
        set_option(option, value)


def _reset_peak(device: str) -> None:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    _trim_heap()
    _RESET.write_text("5", encoding="utf-8")  # the peak becomes the current value


def _trim_heap() -> None:
    """Return freed memory to the system; otherwise its reuse would not be counted."""
    if trim := _c_function("malloc_trim"):
        trim(0)


def _c_function(name: str) -> Callable[..., int] | None:
    """Return a function of GNU's C library; None where the system has another library."""
    if sys.platform == "win32":  # where the process has no handle of its own libraries
        return None
    return getattr(ctypes.CDLL(None), name, None)


def _status_bytes(field: str) -> int:
    """Read a field of the process's status, in bytes.

    Raises:
        OSError: the system has no such file or field.
    """
    match = re.search(rf"^{field}:\s+(\d+) kB", _STATUS.read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise OSError(f"{_STATUS} has no {field}")
    return int(match[1]) * 1024
