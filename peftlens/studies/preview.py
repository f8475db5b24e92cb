"""Results of a study while it runs: tables of the scores of the runs that are measured so far."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from peftlens.results.configurations import configurations_table
from peftlens.results.table_cache import TableCache
from peftlens.runs.run import Run
from peftlens.studies.job_queue import Job, JobKey
from peftlens.studies.plan import PlannedRun, StudyPlan
from peftlens.studies.worker_protocol import TableRequest

EARLY = ("task_items", "parameter_count", "task_accuracy")  # scores, and what the runs trained
_SHARE = 20  # between two showings lies at least the time of this many of them


@dataclass
class Preview:
    """Builder of the jobs that write the first tables, over more and more runs.

    Attributes:
        out: folder of the study.
        plan: plan of the study.
        show: function that shows the tables in the study's folder; None for no early tables.
        trust_remote_code: whether to run Python from the base model's folder.
        clock: function that returns the time in seconds.
    """

    out: Path
    plan: StudyPlan
    show: Callable[[], object] | None
    trust_remote_code: bool
    clock: Callable[[], float] = time.monotonic
    _shown: int = field(default=0, init=False)
    _measured: set[str] = field(default_factory=set, init=False)
    _pending: set[JobKey] = field(default_factory=set, init=False)
    _next: float = field(default=float("-inf"), init=False)

    @property
    def probes(self) -> frozenset[str]:
        """Names of the probes that are measured as soon as a run ends."""
        return frozenset(
            probe.name for probe in self.plan.probes if self.show and probe.name in EARLY
        )

    def jobs(self, done: Collection[str]) -> list[Job]:
        """Return the jobs that write tables over these runs, if it is time for it.

        Args:
            done: ids of the finished runs.
        """
        if not self.probes or self._pending or self.clock() < self._next:
            return []
        runs = [run for run in self.plan.runs if run.id in done and self._is_measured(run)]
        if not self._shown < len(runs) < len(self.plan.runs):
            return []  # the study itself writes the tables of all runs
        self._shown = len(runs)
        labels = {run.id: run.configuration for run in runs}
        folders = tuple(self.out / "runs" / run.id for run in runs)
        tables = TableCache(self.out / "tables", self.plan.probes)
        tables.write(configurations_table([Run(folder) for folder in folders], labels))
        jobs = [
            self._job(probe, folders, labels, file)
            for probe, file in tables.stale(labels)
            if probe in self.probes
        ]
        self._pending = {job.key for job in jobs}
        return jobs

    def _is_measured(self, run: PlannedRun) -> bool:
        if run.id not in self._measured:
            files = (self.out / "runs" / run.id / "probes").glob("*.parquet")
            each = {probe.name for probe in self.plan.probes if probe.each_run}
            if self.probes & each <= {file.stem for file in files}:
                self._measured.add(run.id)
        return run.id in self._measured

    def _job(
        self, probe: str, folders: tuple[Path, ...], labels: dict[str, str], file: Path
    ) -> Job:
        request = TableRequest(
            probe=probe,
            runs=folders,
            labels=labels,
            probe_options=self.plan.probe_options,
            file=file,
            trust_remote_code=self.trust_remote_code,
        )
        key = JobKey(request.kind, probe)
        return Job(key, f"First table of {probe}", lambda: request, place=-1)

    def ended(self, job: Job) -> None:
        """Show the tables once the last of them is written."""
        self._pending.discard(job.key)
        if self.show and not self._pending:
            began = self.clock()
            self.show()
            self._next = self.clock() + _SHARE * (self.clock() - began)
