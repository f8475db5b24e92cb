"""Measuring jobs of a study: all probes of a finished run, which several workers can share."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from peftlens.studies.job_queue import Job, JobKey
from peftlens.studies.plan import StudyPlan
from peftlens.studies.worker_protocol import MeasureRequest


@dataclass
class Measurements:
    """Builder of jobs that measure the runs of one study.

    Attributes:
        folder: folder of all runs.
        plan: plan of the study.
        trust_remote_code: whether to run Python from the base model's folder.
        unmeasured: reasons of the runs on which probes failed, by probe and run id.
        deadly: probes at which a worker died, which are not tried on further runs.
        early: probes that are measured before all other work.
    """

    folder: Path
    plan: StudyPlan
    trust_remote_code: bool
    unmeasured: dict[str, dict[str, str]] = field(default_factory=dict)
    deadly: set[str] = field(default_factory=set)
    early: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self._runs = {run.id: run for run in self.plan.runs}

    def jobs(self, run: str, measured: Mapping[str, Collection[str]]) -> Iterator[Job]:
        """Yield the jobs that measure a run: of early probes, and of all others; none if measured.

        Args:
            run: id of the run.
            measured: ids of the runs in the study's up-to-date tables, by probe.
        """
        groups = [
            [probe for probe in group if run not in measured.get(probe, ())]
            for group in self.plan.probe_groups
        ]
        early = [group for group in groups if group and self.early.issuperset(group)]
        others = [group for group in groups if group and group not in early]
        if early:
            yield self._job(run, early, place=-1)
        if others:
            yield self._job(run, others)

    def _job(self, run: str, groups: Sequence[Sequence[str]], place: int = 0) -> Job:
        """Create a job that can be split by groups of probes."""
        planned = self._runs[run]
        saved = {file.stem for file in (self.folder / run / "probes").glob("*.parquet")}
        work = tuple(
            planned.measuring_work([probe for probe in group if probe not in saved])
            for group in groups
        )
        return Job(
            JobKey("measure", run, groups[0][0]),
            f"Measuring {planned.name}",
            partial(self.request, run, [probe for group in groups for probe in group]),
            work=work,
            split=lambda: [self._job(run, [group], place) for group in groups],
            place=place,
        )

    def request(self, run: str, probes: Sequence[str]) -> MeasureRequest:
        """Build a request without probes at which a worker has died in the meantime."""
        for probe in self.deadly.intersection(probes):
            reason = "not tried, as a worker died at this probe on another run"
            self.unmeasured[probe].setdefault(run, reason)
        return MeasureRequest(
            run=self.folder / run,
            probes=tuple(probe for probe in probes if probe not in self.deadly),
            probe_options=self.plan.probe_options,
            trust_remote_code=self.trust_remote_code,
        )
