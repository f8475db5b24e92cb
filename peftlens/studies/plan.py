"""Plan of a study: its runs and probes, in a form that needs no model to read."""

from typing import Any

from peftlens.results.outcomes import Message
from peftlens.results.table_cache import ProbeSpec
from peftlens.runs.config import RunConfig


class PlannedRun(Message):
    """Planned run of a study.

    Attributes:
        id: the run's id.
        configuration: name of the run's configuration.
        batch_key: key shared by all runs that can be trained in one pass; None for a run that must
            be trained alone.
        config: configuration as requested; planning it again gives the same id.
    """

    id: str
    configuration: str
    batch_key: str | None
    config: RunConfig

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return self.config.seed

    @property
    def continue_from(self) -> str | None:
        """Id of the run whose adapter is trained further, if any."""
        return self.config.continue_from

    @property
    def name(self) -> str:
        """Configuration and seed, for people."""
        return f"{self.configuration} seed={self.seed}"


class StudyPlan(Message):
    """Plan of a whole study.

    Attributes:
        name: title of the study.
        runs: planned runs, in the order of the study's file.
        probes: probes, in the order of measuring.
        probe_options: values of the probes' Configs, by probe.
        device: device of every run.
        dtype: dtype of the base model's weights.
        bytes_per_run: upper estimate of the memory of one run, its base model included.
        gpu_bytes: memory of each GPU of this machine; empty if runs are trained on the CPU.
    """

    name: str
    runs: tuple[PlannedRun, ...]
    probes: tuple[ProbeSpec, ...]
    probe_options: dict[str, dict[str, Any]]
    device: str
    dtype: str
    bytes_per_run: int
    gpu_bytes: tuple[int, ...]
