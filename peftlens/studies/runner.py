"""Supervisor of a study: trains and measures its runs with workers, and writes its tables.

DIR/study.toml            copy of the study file
    study.json            run ids, with the names of the runs' configurations
    calls/                time, machine and command of each call, see invocations.py
    runs/<run_id>/        finished runs, see run.py; temporary files and locks, see store.py
    runs/.paused-<run_id>-<step>/   runs that are paused in training, see paused.py
    failed/<key>.json     failures, see failures.py
    tables/<probe>.parquet

This process loads no model. Training and measuring is left to workers, and the death of a worker
costs at most one run.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from peftlens.errors import InputError
from peftlens.io.files import sha256_text, write_atomic
from peftlens.io.hardware import allocate
from peftlens.io.progress import say
from peftlens.numerics.counts import counted
from peftlens.results.outcomes import (
    Corrupted,
    Died,
    DiskError,
    Done,
    Failed,
    Locked,
    Outcome,
    Problem,
)
from peftlens.results.study_index import (
    TEXT,
    recorded_compilation,
    recorded_dtypes,
    write_index,
)
from peftlens.results.table_cache import TableCache
from peftlens.runs import store
from peftlens.runs.lock import RunLockedError
from peftlens.runs.run import Run
from peftlens.studies.final_tables import FinalTables
from peftlens.studies.job_queue import Job, JobQueue
from peftlens.studies.local_pool import InProcessPool, LocalPool
from peftlens.studies.makespan import Makespan
from peftlens.studies.measurements import Measurements
from peftlens.studies.options import StudyOptions, StudyOutcome
from peftlens.studies.plan import PlannedRun, StudyPlan
from peftlens.studies.pools import closing, open_local_pool, open_ray_pool
from peftlens.studies.preview import Preview
from peftlens.studies.run_batches import RunBatches
from peftlens.studies.run_selection import select_runs
from peftlens.studies.scheduler import JobResult, Signals, WorkerPool, run_jobs
from peftlens.studies.study_failures import StudyFailures
from peftlens.studies.study_file import read_text
from peftlens.studies.worker_protocol import PROBE_OUTCOMES, PlanRequest


def run_study(
    file: str | Path,
    out: str | Path,
    options: StudyOptions | None = None,
    *,
    trust_remote_code: bool = False,
) -> StudyOutcome:
    """Train and measure the unfinished runs of a study, and write its tables.

    All runs are validated before the first is trained. A failed run is recorded under failed/ and
    the study continues; a finished run is never trained again, a failed one only with
    `retry_failed`.

    Raises:
        InputError: the file, or anything it names, can't be used.
        OSError: the disk is full or may not be written to; finished runs stay as they are.
        Stopped: Ctrl-C or SIGTERM; finished runs stay as they are.
    """
    options, out = options or StudyOptions(), Path(out)
    if options.engine == "ray" and (options.runs_per_pass or 1) > 1:
        raise InputError("runs can be trained together on this machine only; leave --runs-per-pass")
    text = read_text(Path(file))
    with Signals() as signals, closing(open_local_pool(options)) as local_pool:
        request = PlanRequest(
            text=text,
            source=str(file),
            dtypes=recorded_dtypes(out),
            compiled=recorded_compilation(out),
            full_scale=options.full_scale,
            trust_remote_code=trust_remote_code,
        )
        if options.engine == "ray":  # this machine may lack the devices of the nodes
            with closing(open_ray_pool(out, options)) as ray_pool:
                plan = _plan(ray_pool, request, signals)
        else:
            plan = _plan(local_pool, request, signals)
        study = StudyRunner(out, options, plan, local_pool, signals, trust_remote_code)
        study.prepare(text)
        return study.run()


def _plan(pool: WorkerPool, request: PlanRequest, signals: Signals) -> StudyPlan:
    job = Job.from_request(request, "", "Planning")
    (result,) = run_jobs(JobQueue([job]), pool, signals)
    match result.outcome:
        case Done(result=plan):
            return StudyPlan.model_validate(plan)
        case DiskError() as problem:
            raise problem.to_error()
        case Failed(is_input_error=True) as problem:
            raise InputError(problem.error_summary)
        case Problem() as problem:
            raise RuntimeError(problem.error_summary)


@dataclass
class StudyRunner:
    """Execution of one study.

    Attributes:
        out: folder of the study.
        options: options of this call.
        plan: plan of the study.
        local_pool: workers on this machine.
        signals: handler of Ctrl-C and SIGTERM.
        trust_remote_code: whether to run Python from the base model's folder.
        done: ids of finished, uncorrupted runs.
        locked: ids of runs that another process is building.
        makespan: time of this call.
    """

    out: Path
    options: StudyOptions
    plan: StudyPlan
    local_pool: InProcessPool | LocalPool
    signals: Signals
    trust_remote_code: bool
    done: set[str] = field(default_factory=set)
    locked: set[str] = field(default_factory=set)
    makespan: Makespan = field(default_factory=Makespan)

    @property
    def folder(self) -> Path:
        """Folder of all runs."""
        return self.out / "runs"

    @cached_property
    def runs(self) -> dict[str, PlannedRun]:
        """All runs of the study, by id."""
        return {run.id: run for run in self.plan.runs}

    @cached_property
    def failures(self) -> StudyFailures:
        """Failures of runs and probes."""
        return StudyFailures(self.out, self.runs)

    @cached_property
    def measurements(self) -> Measurements:
        """Builder of the jobs that measure runs."""
        return Measurements(
            self.folder,
            self.plan,
            self.trust_remote_code,
            unmeasured=self.failures.unmeasured,
            early=self.preview.probes,
        )

    @cached_property
    def preview(self) -> Preview:
        """Builder of the jobs that write the first tables."""
        # with other processes or machines at work, the last one writes the tables
        alone = self.options.engine == "local" and not self.options.shard
        show = self.options.show if alone else None
        return Preview(self.out, self.plan, show, self.trust_remote_code)

    @property
    def tables(self) -> TableCache:
        """Cache of the tables on disk."""
        return TableCache(self.out / "tables", self.plan.probes)

    @cached_property
    def selected(self) -> list[PlannedRun]:
        """Runs in this call's shard, filter and selection."""
        runs = select_runs(self.plan.runs, self.options.shard, self.options.filter)
        return [run for run in runs if self.options.select is None or self.options.select(run)]

    def prepare(self, text: str) -> None:
        """Write study.toml and study.json; delete leftovers of dead processes and older files."""
        probes = [probe.name for probe in self.plan.probes]
        retried = {run.id for run in self.selected} if self.options.retry_failed else ()
        self.out.mkdir(parents=True, exist_ok=True)
        write_atomic(self.out / TEXT, text.encode())
        index = {
            "name": self.plan.name,
            "runs": list(self.runs),
            "configurations": self.plan.labels,
            "names": {run.id: run.name for run in self.plan.runs},
            "probes": probes,
            "dtypes": {self.plan.device: self.plan.dtype},
            "compiled": {run.id: run.compiled for run in self.plan.runs},
            "text_sha256": sha256_text(text),
        }
        write_index(self.out, index)
        if deleted := store.sweep(self.folder):
            say(f"Deleted {deleted} unfinished files or folders of stopped processes")
        self.failures.load(retried)
        self.tables.drop_others()

    def run(self) -> StudyOutcome:
        """Train and measure the runs, and write the tables."""
        self.done, damaged = store.finished(self.folder, self.runs)
        for run, reason in damaged.items():
            self._quarantine(run, reason)
        if self.done:
            say(f"{len(self.done)} of {counted(len(self.runs), 'run')} already finished")
        self._train_and_measure()
        self.done |= store.finished(self.folder, self.runs.keys() - self.done)[0]
        left = [run for run in self.runs if self._is_missing(run)]
        runs = [Run(self.folder / run) for run in self.runs if run in self.done]
        if left and (self.locked or self.options.shard):
            those = counted(len(left), "run")
            say(f"{those} left to other processes; the last one writes the tables")
        elif runs:
            tables = FinalTables(self.tables, self.plan, self.failures, self.trust_remote_code)
            self.makespan.worked += tables.write(runs, self.local_pool, self.signals)
        self.makespan.end()
        failed = tuple(self.failures.summaries.values())
        return StudyOutcome(self.out, tuple(runs), failed, len(left), self.plan.runs)

    def _is_missing(self, run: str) -> bool:
        return run not in self.done and run not in self.failures.summaries

    def _train_and_measure(self) -> None:
        """Train the missing runs; measure these and the finished ones."""
        finished = [run for run in self.selected if run.id in self.done]
        missing = [run for run in self.selected if self._is_missing(run.id)]
        self.tables.drop_of([run.id for run in missing])
        if compiled := sum(run.compiled for run in missing):
            say(f"{compiled} of {counted(len(missing), 'run')} to be trained with compiled blocks")
        runs_per_pass = 1 if self.options.engine == "ray" else self.options.runs_per_pass
        batches = RunBatches(
            self.folder,
            self.trust_remote_code,
            len(self.plan.gpu_bytes),
            runs_per_pass,
            self.plan.probe_groups,
            self.options.pause_after,
        )
        measured = self.tables.measured() if finished else {}
        jobs = JobQueue(batches.jobs(missing))
        for run in finished:
            jobs.extend(self.measurements.jobs(run.id, measured))
        if jobs:
            self._run_jobs(jobs, batches, len(missing))

    def _run_jobs(self, jobs: JobQueue, batches: RunBatches, n_missing: int) -> None:
        self.makespan.begin(self.out)
        number = 0
        with self._pool(len(jobs)) as pool:
            for result in run_jobs(jobs, pool, self.signals, self.plan.name):
                if isinstance(result.outcome, DiskError):
                    raise result.outcome.to_error()
                if result.job.key.kind == "table":
                    self.preview.ended(result.job)
                elif result.job.key.kind == "measure":
                    self._measured(result, jobs)
                    jobs.extend(self.preview.jobs(self.done))
                else:
                    for run_result in batches.results_by_run(result, jobs):
                        number += 1
                        say(f"[{number}/{n_missing}] {self._after_training(run_result, jobs)}")
                        if run_result.job.key.target in self.done:
                            jobs.extend(self.measurements.jobs(run_result.job.key.target, {}))
                self.makespan.foresee(jobs, pool.slots)
        self.makespan.worked += jobs.worked

    @contextmanager
    def _pool(self, jobs: int) -> Iterator[WorkerPool]:
        """Open the pool of workers that train and measure runs."""
        if isinstance(self.local_pool, InProcessPool):
            yield self.local_pool
        elif self.options.engine == "ray":
            with closing(open_ray_pool(self.out, self.options, self.plan)) as pool:
                yield pool
        else:
            allocation = allocate(
                jobs,
                self.plan.bytes_per_run,
                gpu_bytes=self.plan.gpu_bytes,
                workers=self.options.workers,
                threads=self.options.threads,
            )
            self.local_pool.reshape(allocation.environments())
            say(f"Workers: {allocation.in_words()}")
            yield self.local_pool

    def _after_training(self, result: JobResult, jobs: JobQueue) -> str:
        """Record the outcome of a run; return a one-line summary."""
        description, run = result.job.description, result.job.key.target
        match result.outcome:
            case Done(result=summary):
                if self.options.pause_after is None or (self.folder / run).exists():
                    self.done.add(run)
                return f"{description}: {summary}"
            case Locked():
                self.locked.add(run)
                while waiting := jobs.discard(self._waits_for_locked):
                    self.locked.update(job.key.target for job in waiting)
                return f"{description}: another process is building it"
            case Problem() as problem:
                return self.failures.record(run, description, problem)

    def _waits_for_locked(self, job: Job) -> bool:
        return job.needs is not None and job.needs.target in self.locked

    def _measured(self, result: JobResult, jobs: JobQueue) -> None:
        """Record failures; queue the job again if its worker died at one of the probes."""
        run = result.job.key.target
        if run not in self.done:
            return  # quarantined by another part of its measurement
        match result.outcome:
            case Done(result=outcomes):
                for probe, outcome in PROBE_OUTCOMES.validate_python(outcomes).items():
                    self._after_probe(run, probe, outcome)
            case Died(activity=str(probe)) as problem:
                self.measurements.deadly.add(probe)
                self.failures.record_probe(run, probe, problem)
                jobs.add(result.job)
            case Problem() as problem:
                self.failures.record(run, result.job.description, problem)
        if run not in self.done:
            jobs.discard(lambda job: job.key.kind == "measure" and job.key.target == run)

    def _after_probe(self, run: str, probe: str, outcome: Outcome) -> None:
        match outcome:
            case DiskError() as problem:
                raise problem.to_error()
            case Corrupted(error_summary=reason):
                self._quarantine(run, reason)
                self.failures.summaries[run] = (
                    f"{reason}; quarantined: the next call trains it again"
                )
            case Problem() as problem:
                self.failures.record_probe(run, probe, problem)

    def _quarantine(self, run: str, reason: str) -> None:
        self.done.discard(run)
        with suppress(RunLockedError):  # another process quarantines it
            if target := store.quarantine(self.folder, run):
                say(f"{reason}: moved to {target}")
