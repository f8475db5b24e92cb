"""Time that a study of several stages has taken, over all its calls: time.json."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from peftlens.io.files import write_json

FILE = "time.json"


@dataclass(frozen=True)
class Stopwatch:
    """Times of the stages, which are kept when a call is interrupted, unless it is killed.

    Attributes:
        folder: folder of the study.
        clock: function that returns the time in seconds.
    """

    folder: Path
    clock: Callable[[], float] = time.monotonic

    def seconds(self, *stages: str) -> float:
        """Return the time of these stages together, or of all, s."""
        recorded = self._read()
        return sum(recorded.get(stage, 0.0) for stage in stages or recorded)

    @contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Add the time of a block to that of a stage."""
        began = self.clock()
        try:
            yield
        finally:
            recorded = self._read()
            recorded[stage] = round(recorded.get(stage, 0.0) + self.clock() - began, 3)
            write_json(self.folder / FILE, recorded)

    def _read(self) -> dict[str, float]:
        with suppress(OSError, ValueError, TypeError, AttributeError):
            read = json.loads((self.folder / FILE).read_bytes())
            return {str(stage): float(seconds) for stage, seconds in read.items()}
        return {}  # missing or damaged: no result depends on it
