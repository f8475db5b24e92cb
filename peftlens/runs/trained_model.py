"""Common interface of a run and of an adapter from another program."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from peftlens.runs.config import UNKNOWN_TASK, RunConfig

if TYPE_CHECKING:
    from peftlens.runs.run import Record


class TrainedModel(Protocol):
    """Trained weights on disk, with the records of their training.

    Attributes:
        path: folder of the run or adapter.
    """

    path: Path

    @cached_property
    def record(self) -> "Record":
        """Configuration and results, as far as they are recorded."""
        ...

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps with saved weights, ending with the last step of training."""
        ...

    def adapter(self, step: int | None = None) -> Path:
        """Return the folder of the weights after the last step, or at a checkpoint."""
        ...

    @property
    def table_folder(self) -> Path | None:
        """Folder of probes' tables; None if they can't be saved."""
        ...

    @cached_property
    def digests(self) -> dict[str, str]:
        """SHA-256 of all files written by training, by path in the folder."""
        ...

    def metrics(self) -> list[dict[str, Any]]:
        """Return the metrics of logged steps, determined by the seed; empty if not recorded."""
        ...

    def timing(self) -> list[dict[str, Any]]:
        """Return the timings of logged steps, determined by the machine; empty if not recorded."""
        ...

    @property
    def id(self) -> str:
        """Id of the run or adapter."""
        return self.record.id

    @property
    def config(self) -> RunConfig:
        """Configuration with all defaults filled in."""
        return self.record.config

    @property
    def is_base(self) -> bool:
        """Whether the model is its base without any change."""
        return self.config.method == "frozen"

    @property
    def rank(self) -> int | None:
        """Nominal rank, as `rank` or peft's `r`; None for methods without one."""
        options = self.config.method_config
        return options.get("rank", options.get("r"))

    @property
    def task(self) -> str | None:
        """Task of the run; None for an adapter from another program that names none."""
        return None if self.config.task == UNKNOWN_TASK else self.config.task

    @property
    def is_reproducible(self) -> bool:
        """Whether configuration and seed reproduce the initial weights.

        Other programs' trainings do not record them, so their weights are part of the run's id.
        """
        return self.task is not None and "weights" not in self.record.depends_on
