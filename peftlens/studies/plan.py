"""Plan of a study: its runs and probes, in a form that needs no model to read."""

from collections.abc import Sequence
from typing import Any

from peftlens.results.outcomes import Message
from peftlens.results.table_cache import ProbeSpec
from peftlens.runs.config import RunConfig
from peftlens.studies.durations import Work


class Forecast(Message):
    """Forecast of a run's cost before anything is trained, which only decides what is begun first.

    Attributes:
        training: floating-point operations of training the run and scoring its validation examples.
        beside: operations of products that would take as long as what training does beside them.
        scoring: operations of scoring the task's test examples at each saved step, for which a
            probe whose cost is not known yet is taken.
        inapplicable: probes that need what the run's method does not have.
    """

    training: float = 0.0
    beside: float = 0.0
    scoring: float = 0.0
    inapplicable: frozenset[str] = frozenset()


class PlannedRun(Message):
    """Planned run of a study.

    Attributes:
        id: the run's id.
        configuration: name of the run's configuration.
        batch_key: key shared by all runs that can be trained in one pass; None for a run that must
            be trained alone.
        config: configuration as requested; planning it again gives the same id.
        forecast: cost of the run.
        compiled: whether its blocks are compiled for training.
        pausable: whether it can be paused in training.
    """

    id: str
    configuration: str
    batch_key: str | None
    config: RunConfig
    forecast: Forecast = Forecast()
    compiled: bool = False
    pausable: bool = True

    def pause_step(self, share: float | None) -> int | None:
        """Return the step after this share of the steps; None where the run can't be paused."""
        if share is None or not self.pausable:
            return None
        step = max(1, round(share * self.config.training.max_steps))
        return step if step < self.config.training.max_steps else None

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

    @property
    def training_work(self) -> Work:
        """Work of training the run."""
        names = (f"training of {self.configuration}", f"training of {self.config.method}")
        return Work((*names, "training"), self.forecast.training + self.forecast.beside)

    def measuring_work(self, probes: Sequence[str]) -> Work:
        """Return the work of measuring probes on the run, one after the other."""
        applicable = [probe for probe in probes if probe not in self.forecast.inapplicable]
        name = ", ".join(applicable)
        operations = self.forecast.scoring * bool(applicable)
        return Work((f"{name} of {self.configuration}", name), operations)


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

    @property
    def labels(self) -> dict[str, str]:
        """Names of the configurations, by run id."""
        return {run.id: run.configuration for run in self.runs}

    @property
    def probe_groups(self) -> list[list[str]]:
        """Probes that measure each run; those of a group share what one of them computes."""
        groups: dict[str, list[str]] = {}
        for probe in self.probes:
            if probe.each_run:
                groups.setdefault(probe.measured_with or probe.name, []).append(probe.name)
        return list(groups.values())
