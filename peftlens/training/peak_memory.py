"""Peak memory of a piece of work, above the memory in use before it."""

import ctypes
import re
from dataclasses import dataclass
from pathlib import Path

import torch

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


def _reset_peak(device: str) -> None:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    _trim_heap()
    _RESET.write_text("5")  # the peak becomes the current value


def _trim_heap() -> None:
    """Return freed memory to the system; otherwise its reuse would not be counted.

    Only GNU's C library has this function.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)


def _status_bytes(field: str) -> int:
    """Read a field of the process's status, in bytes.

    Raises:
        OSError: the system has no such file or field.
    """
    match = re.search(rf"^{field}:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    if match is None:
        raise OSError(f"{_STATUS} has no {field}")
    return int(match[1]) * 1024
