"""How much memory a piece of work takes at its highest, above what was held before it."""

import ctypes
import re
from dataclasses import dataclass
from pathlib import Path

import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class PeakMemory:
    """Measures from `start` on; one at a time, for the system keeps one highest mark."""

    device: str
    _before: int | None

    @classmethod
    def start(cls, device: str) -> "PeakMemory":
        """Forget how high memory has been, and remember how high it is now.

        Args:
            device: cuda counts what is allocated on the GPU, any other the process's resident set,
                which Linux alone can measure for a part of a process's life.
        """
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            return cls(device, torch.cuda.memory_allocated())
        try:
            _give_back()
            _RESET.write_text("5")  # the highest mark falls to the present
            return cls(device, _resident("VmRSS"))
        except OSError:
            return cls(device, None)

    def bytes(self) -> int | None:
        """The highest mark since the start minus the memory then, or None where nobody knows."""
        if self._before is None:
            return None
        if self.device == "cuda":
            return torch.cuda.max_memory_allocated() - self._before
        return _resident("VmHWM") - self._before


def _give_back() -> None:
    """Return freed memory to the system; what an earlier run left would be used again, uncounted.

    Other C libraries than GNU's have no such call.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)


def _resident(field: str) -> int:
    """A line of the process's status, in bytes.

    Raises:
        OSError: the system keeps no such file.
    """
    found = re.search(rf"^{field}:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"{_STATUS} has no {field}")
    return int(found[1]) * 1024
