"""Training jobs of a study: runs trained alone, or in batches with one pass over the base model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from peftlens.io.progress import say
from peftlens.results.outcomes import Done
from peftlens.studies.durations import Work
from peftlens.studies.job_queue import Job, JobKey, JobQueue
from peftlens.studies.plan import PlannedRun
from peftlens.studies.run_selection import group_runs
from peftlens.studies.scheduler import JobResult
from peftlens.studies.worker_protocol import TrainBatchRequest, TrainRequest

RUNS_PER_PASS = 8  # on a GPU; memory of activations grows in proportion


@dataclass
class RunBatches:
    """Builder of jobs that train the runs of one study.

    Attributes:
        folder: folder of all runs.
        trust_remote_code: whether to run Python from the base model's folder.
        devices: number of GPUs; runs are split so that each GPU gets at least one pass.
        runs_per_pass: highest number of runs per pass; by default several on a GPU and one on a
            CPU, where batches are no faster.
        probe_groups: probes that follow each run; see `StudyPlan.probe_groups`.
        pause_after: share of the steps after which runs are paused; see `StudyOptions`.
    """

    folder: Path
    trust_remote_code: bool
    devices: int
    runs_per_pass: int | None = None
    probe_groups: Sequence[Sequence[str]] = ()
    pause_after: float | None = None
    _groups: dict[str, Sequence[PlannedRun]] = field(
        default_factory=dict, init=False
    )  # by id of the first run

    def jobs(self, runs: Sequence[PlannedRun]) -> Iterator[Job]:
        """Yield the jobs: one per run that is trained alone, and one per batch of runs."""
        runs_per_pass = self.runs_per_pass or (RUNS_PER_PASS if self.devices else 1)
        stops: dict[int | None, list[PlannedRun]] = {}  # runs of one pass pause at one step
        for run in runs:
            stops.setdefault(run.pause_step(self.pause_after), []).append(run)
        devices = max(1, self.devices)
        groups = [
            one for part in stops.values() for one in group_runs(part, runs_per_pass, devices)
        ]
        if grouped := [group for group in groups if len(group) > 1]:
            say(
                f"{sum(map(len, grouped))} runs are trained in {len(grouped)} groups, each in one "
                "pass over the base; --runs-per-pass 1 trains each alone"
            )
        for group in groups:
            yield self._run_job(group[0]) if len(group) == 1 else self._batch_job(group)

    def results_by_run(self, result: JobResult, jobs: JobQueue) -> Iterator[JobResult]:
        """Split a job's result by run; the runs of a failed batch are queued as single jobs."""
        kind, first, _ = result.job.key
        if kind == "train":
            yield result
            return
        summaries: dict[str, str] = {}
        if isinstance(result.outcome, Done):
            summaries = result.outcome.result
        else:
            say(f"{result.job.description}: {result.outcome.error_summary}; now each alone")
        for run in self._groups[first]:
            if run.id in summaries:
                yield JobResult(self._run_job(run), Done(result=summaries[run.id]))
            else:
                jobs.add(self._run_job(run))

    def _run_job(self, run: PlannedRun) -> Job:
        request = TrainRequest(
            run=run.id,
            config=run.config,
            folder=self.folder,
            compiled=run.compiled,
            trust_remote_code=self.trust_remote_code,
            until=run.pause_step(self.pause_after),
        )
        needs = JobKey("train", run.continue_from) if run.continue_from else None
        job = Job.from_request(request, run.id, run.name, needs)
        return replace(job, work=(run.training_work,), follow_up=self._follow_up([run]))

    def _batch_job(self, group: Sequence[PlannedRun]) -> Job:
        first = group[0]
        self._groups[first.id] = group
        request = TrainBatchRequest(
            configs={run.id: run.config for run in group},
            folder=self.folder,
            trust_remote_code=self.trust_remote_code,
            until=first.pause_step(self.pause_after),
        )
        job = Job.from_request(request, first.id, f"{first.name} and {len(group) - 1} more")
        operations = sum(run.training_work.operations for run in group)
        work = Work((f"{len(group)} runs of {first.config.method} in one pass",), operations)
        return replace(job, work=(work,), follow_up=self._follow_up(group))

    def _follow_up(self, runs: Sequence[PlannedRun]) -> tuple[Work, ...]:
        return tuple(run.measuring_work(group) for run in runs for group in self.probe_groups)
