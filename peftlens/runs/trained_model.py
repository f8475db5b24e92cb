"""The interface that a run and an adapter from another program have in common."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from peftlens.runs.config import UNKNOWN_TASK, RunConfig

if TYPE_CHECKING:
    from peftlens.runs.run import Record


class TrainedModel(Protocol):
    """Trained weights on disk, and what is recorded of their training.

    Attributes:
        path: its folder.
    """

    path: Path

    @cached_property
    def record(self) -> "Record":
        """Its configuration and results, as far as they are recorded."""
        ...

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps whose weights are on disk; the last one ends the training."""
        ...

    def adapter(self, step: int | None = None) -> Path:
        """Folder of the trained weights: after the last step, or at a checkpoint."""
        ...

    @property
    def table_folder(self) -> Path | None:
        """Folder that keeps probes' tables; None where nothing may be written."""
        ...

    @cached_property
    def digests(self) -> dict[str, str]:
        """SHA-256 of every file that training wrote, by its path in the folder."""
        ...

    def metrics(self) -> list[dict[str, Any]]:
        """What the seed decides, step by step; empty where nothing was recorded."""
        ...

    def timing(self) -> list[dict[str, Any]]:
        """What the machine decides, step by step; empty where nothing was recorded."""
        ...

    @property
    def id(self) -> str:
        """What tells it apart."""
        return self.record.id

    @property
    def config(self) -> RunConfig:
        """Its configuration, with every default filled in."""
        return self.record.config

    @property
    def rank(self) -> int | None:
        """The nominal rank, by its name here or by peft's; None for methods without one."""
        options = self.config.method_config
        return options.get("rank", options.get("r"))

    @property
    def task(self) -> str | None:
        """The task that it was trained on; None where another program trained it."""
        return None if self.config.task == UNKNOWN_TASK else self.config.task

    @property
    def is_reproducible(self) -> bool:
        """Whether configuration and seed make its untrained start again.

        Of what another program trained, only the adapter's own files say how it is attached.
        """
        return self.task is not None
