"""A study carried out: the runs that its file names, and the tables that they give.

DIR/study.toml            the file as it was given
    study.json            its runs, by id, with the names of their configurations
    calls/                when and how it was carried out, see calls.py
    runs/<run_id>/        see run.py, and store.py for what else may lie there
    failed/<key>.json     see failures.py
    tables/<probe>.parquet

This process trains nothing and loads no model: workers do, and one that dies costs one run.
"""

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from peftlens.errors import InputError
from peftlens.io.files import write_atomic, write_json
from peftlens.io.hardware import Allocation, allocate, gpus_per_run
from peftlens.io.progress import say
from peftlens.results import failures, invocations
from peftlens.results.configurations import configurations_table
from peftlens.results.outcomes import Message, error_summary
from peftlens.results.study_results import index_or_none
from peftlens.results.table_cache import TableCache
from peftlens.runs import store
from peftlens.runs.run import SCHEMA, Run
from peftlens.studies.config import read_text
from peftlens.studies.local_pool import InProcessPool, LocalPool
from peftlens.studies.run_batches import RunBatches
from peftlens.studies.run_selection import Planned, run_name, select_runs
from peftlens.studies.scheduler import Job, JobResult, Signals, WorkerPool, run_jobs
from peftlens.studies.worker_protocol import Task

E = TypeVar("E", bound=WorkerPool)


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """How a study is carried out; all but `full_scale` and the rounding of sums leaves results alone.

    Attributes:
        workers: runs trained at the same time; as many as the machine has room for by default, and
            0 for this process itself.
        threads: of each worker; see `hardware.allocate`.
        runs_per_pass: most runs that are trained in one pass over the base, see layers/batched_adapters.py;
            several on a GPU by default, and on a CPU, where it does not pay, one.
        full_scale: the larger study that the file's table [full_scale] describes.
        engine: where workers are: processes on this machine, or Ray's cluster.
        shard: (i, n): the i-th of n parts of the study, counted from 1.
        filter: patterns such as `lora*`; see `run_selection.select_runs`.
        retry_failed: train and measure once more what failed before.
        stall_timeout: seconds without a sign of progress after which a worker is taken for hung; 0: never.
        module: whose actions the workers offer.
    """

    workers: int | None = None
    threads: int | None = None
    runs_per_pass: int | None = None
    full_scale: bool = False
    engine: Literal["local", "ray"] = "local"
    shard: tuple[int, int] | None = None
    filter: tuple[str, ...] = ()
    retry_failed: bool = False
    stall_timeout: float = 3600
    module: str = "peftlens.studies.worker"


@dataclass(frozen=True)
class StudyOutcome:
    """What became of a study.

    Attributes:
        folder: where it lies.
        runs: finished runs, in the study's order.
        failed: one line for each run or probe that failed, now or before.
        left: how many runs are neither finished nor failed: other processes are at them, or they
            were not asked for.
    """

    folder: Path
    runs: tuple[Run, ...]
    failed: tuple[str, ...]
    left: int


def run_study(
    file: str | Path,
    out: str | Path,
    how: StudyOptions | None = None,
    *,
    trust_remote_code: bool = False,
) -> StudyOutcome:
    """Train what is not trained yet, measure it, and write the tables.

    All runs are checked before the first is trained. A run that fails is recorded under failed/
    and the study goes on; a finished run is never trained again, and a failed one only if asked.

    Raises:
        InputError: the file, or anything it names, can't be used.
        OSError: the disk is full or may not be written to; finished runs stay as they are.
        Stopped: Ctrl-C or SIGTERM; finished runs stay as they are.
    """
    how, out = how or StudyOptions(), Path(out)
    if how.engine == "ray" and (how.runs_per_pass or 1) > 1:
        raise InputError("runs can be trained together on this machine only; leave --runs-per-pass")
    text, index = read_text(Path(file)), index_or_none(out)
    with Signals() as signals, _closed(_home(how)) as home:
        given = {"text": text, "source": str(file), "dtypes": index.get("dtypes")}
        given |= {"trust": trust_remote_code, "full": how.full_scale}
        job = Job.known(("plan", ""), "Planning", given)
        if how.engine == "ray":  # nodes may have what this machine has not
            with _closed(_ray(out, how)) as engine:
                inventory = _plan(engine, job, signals)
        else:
            inventory = _plan(home, job, signals)
        study = StudyRunner(out, how, inventory, home, signals, trust_remote_code)
        study.prepare(text)
        return study.run()


def _home(how: StudyOptions) -> InProcessPool | LocalPool:
    """What works on this machine; nobody knows yet how many workers there is room for."""
    if how.workers == 0:
        return InProcessPool(how.module)
    return LocalPool(Allocation(1, how.threads or 1).environments(), how.stall_timeout, how.module)


def _ray(out: Path, how: StudyOptions, inventory: Mapping[str, Any] | None = None) -> WorkerPool:
    """Workers on a cluster: one to plan with, or as many as there is room for."""
    from peftlens.studies.ray_pool import RayPool

    needs = {"num_cpus": how.threads or 1}
    if inventory and inventory["gpu_bytes"]:
        needs["num_gpus"] = gpus_per_run(inventory["bytes_a_run"], inventory["gpu_bytes"])
    elif inventory:
        needs["memory"] = inventory["bytes_a_run"]
    workers = how.workers if inventory else 1
    return RayPool(out / "runs", needs, workers=workers, limit=how.stall_timeout, module=how.module)


@contextmanager
def _closed(engine: E) -> Iterator[E]:
    """Close it; at once where something was raised."""
    try:
        yield engine
    except BaseException:
        engine.close(now=True)
        raise
    engine.close(now=False)


def _plan(engine: WorkerPool, job: Job, signals: Signals) -> dict[str, Any]:
    (ended,) = run_jobs(deque([job]), engine, signals)
    outcome = ended.outcome
    if "done" in outcome:
        return outcome["done"]
    _stop_if_disk(outcome)
    raise (InputError if outcome.get("mendable") else RuntimeError)(error_summary(outcome))


def _stop_if_disk(outcome: Message) -> None:
    if "disk" in outcome:
        raise OSError(outcome["errno"], f"{outcome['disk']}; finished runs are kept")


@dataclass
class StudyRunner:
    """One study under way.

    Attributes:
        inventory: what `grid.inventory` said.
        engine: what works on this machine.
        done: runs that are there and whole.
        failed: a line for each failure, by run id or probe.
        elsewhere: runs that another process is at.
    """

    out: Path
    how: StudyOptions
    inventory: dict[str, Any]
    engine: InProcessPool | LocalPool
    signals: Signals
    trust: bool
    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    elsewhere: set[str] = field(default_factory=set)

    @property
    def folder(self) -> Path:
        return self.out / "runs"

    @property
    def probes(self) -> list[dict[str, Any]]:
        return self.inventory["probes"]

    @cached_property
    def runs(self) -> dict[str, Planned]:
        """Every run of the study, by id."""
        return {run["id"]: run for run in self.inventory["runs"]}

    @cached_property
    def labels(self) -> dict[str, str]:
        return {run: about["configuration"] for run, about in self.runs.items()}

    @property
    def tables(self) -> TableCache:
        return TableCache(self.out / "tables", self.probes)

    @cached_property
    def selected(self) -> list[Planned]:
        return select_runs(self.inventory["runs"], self.how.shard, self.how.filter)

    def prepare(self, text: str) -> None:
        """Write what the study is, and clear away what dead processes and older files left."""
        probes = [probe["name"] for probe in self.probes]
        tried = {*probes, *(run["id"] for run in self.selected)} if self.how.retry_failed else ()
        self.out.mkdir(parents=True, exist_ok=True)
        write_atomic(self.out / "study.toml", text.encode())
        index = {
            "schema_version": SCHEMA,
            "name": self.inventory["name"],
            "runs": list(self.runs),
            "configurations": self.labels,
            "names": {run: run_name(about) for run, about in self.runs.items()},
            "probes": probes,
            "dtypes": {self.inventory["device"]: self.inventory["dtype"]},
        }
        write_json(self.out / "study.json", index)
        if swept := store.sweep(self.folder):
            say(f"Deleted {swept} unfinished pieces that a stopped process had left")
        known = [*self.runs, *probes]
        failures.forget(self.out, keep={*known}.difference(tried))
        before = failures.recorded(self.out)
        self.failed = {
            key: f"{before[key]} (before; not tried again)" for key in known if key in before
        }
        self.tables.drop_others()

    def run(self) -> StudyOutcome:
        """Train, measure, tabulate."""
        self.done, damaged = store.finished(self.folder, self.runs)
        for run, reason in damaged.items():
            self._put_aside(run, reason)
        if self.done:
            say(f"{len(self.done)} of {len(self.runs)} runs are already there")
        self._work()
        self.done |= store.finished(self.folder, self.runs.keys() - self.done)[0]
        left = [run for run in self.runs if run not in self.done and run not in self.failed]
        runs = [Run(self.folder / run) for run in self.runs if run in self.done]
        if left and (self.elsewhere or self.how.shard):
            say(f"{len(left)} runs are left to others; who finishes the last one writes the tables")
        elif runs:
            self._tabulate(runs)
        return StudyOutcome(self.out, tuple(runs), tuple(self.failed.values()), len(left))

    def _work(self) -> None:
        """Train what is not there, and measure it and what is there already."""
        there = [run for run in self.selected if run["id"] in self.done]
        missing = [
            run
            for run in self.selected
            if run["id"] not in self.done and run["id"] not in self.failed
        ]
        most = 1 if self.how.engine == "ray" else self.how.runs_per_pass
        devices = len(self.inventory["gpu_bytes"])
        trainings = RunBatches(self.folder, self.trust, devices, most)
        jobs = deque(trainings.jobs(missing))
        measured = self.tables.measured() if there else {}
        for run in there:
            jobs.extend(self._measuring(run["id"], measured))
        if not jobs:
            return
        invocations.record(self.out)
        number = 0
        with self._engine(len(jobs)) as engine:
            for ended in run_jobs(jobs, engine, self.signals, self.inventory["name"]):
                _stop_if_disk(ended.outcome)
                if ended.job.key[0] == "measure":
                    jobs.extend(self._after_measuring(ended))
                    continue
                for one in trainings.each(ended, jobs):
                    number += 1
                    say(f"[{number}/{len(missing)}] {self._after_training(one, jobs)}")
                    if "done" in one.outcome:
                        jobs.extend(self._measuring(one.job.key[1], {}))

    @contextmanager
    def _engine(self, jobs: int) -> Iterator[WorkerPool]:
        """Where runs are trained and measured."""
        if isinstance(self.engine, InProcessPool):
            yield self.engine
        elif self.how.engine == "ray":
            with _closed(_ray(self.out, self.how, self.inventory)) as engine:
                yield engine
        else:
            shared = allocate(
                jobs,
                self.inventory["bytes_a_run"],
                gpu_bytes=self.inventory["gpu_bytes"],
                workers=self.how.workers,
                threads=self.how.threads,
            )
            self.engine.reshape(shared.environments())
            say(f"Workers: {shared.in_words()}")
            yield self.engine

    def _after_training(self, ended: JobResult, jobs: deque[Job]) -> str:
        """Keep what became of it; returns it in a line."""
        what, run, outcome = ended.job.what, ended.job.key[1], ended.outcome
        if "done" in outcome:
            self.done.add(run)
            return f"{what}: {outcome['done']}"
        if "claimed" in outcome:
            self.elsewhere.add(run)
            for job in list(jobs):  # in the order of their needs
                if job.needs and job.needs[1] in self.elsewhere:
                    self.elsewhere.add(job.key[1])
                    jobs.remove(job)
            return f"{what}: another process is at it"
        return self._record(run, what, outcome)

    def _measuring(self, run: str, measured: Mapping[str, Collection[str]]) -> Iterator[Job]:
        """What measures a run, unless all is measured."""
        probes = [
            probe["name"]
            for probe in self.probes
            if probe["each_run"]
            and probe["name"] not in self.failed
            and run not in measured.get(probe["name"], ())
        ]
        if probes:
            task = partial(self._measuring_task, run, probes)
            yield Job(("measure", run), f"Measuring {run_name(self.runs[run])}", task)

    def _measuring_task(self, run: str, probes: Sequence[str]) -> Task:
        """Without the probes that have failed by now: they are tried no further."""
        left = [probe for probe in probes if probe not in self.failed]
        options = self.inventory["options"]
        given = {"run": str(self.folder / run), "probes": left, "options": options}
        given |= {"trust": self.trust}
        return {"do": "measure", "with": given}

    def _after_measuring(self, ended: JobResult) -> Iterator[Job]:
        """Keep what failed; yields the job once more where its worker died at one of the probes."""
        run, outcome = ended.job.key[1], ended.outcome
        if "done" not in outcome:
            key = outcome.get("at")
            self._record(key or run, f"probe {key}" if key else ended.job.what, outcome)
            if key:
                yield ended.job
            return
        for probe, wrong in outcome["done"].items():
            _stop_if_disk(wrong)
            if "damaged" in wrong:
                self._put_aside(run, wrong["damaged"])
                self.failed[run] = f"{wrong['damaged']}; put aside: next time it is trained anew"
            else:
                self._record(probe, f"probe {probe}", wrong)

    def _record(self, key: str, what: str, outcome: Message) -> str:
        self.failed[key] = failures.record(self.out, key, what, outcome)
        return self.failed[key]

    def _put_aside(self, run: str, reason: str) -> None:
        self.done.discard(run)
        with suppress(store.RunLockedError):  # somebody does the same
            if aside := store.quarantine(self.folder, run):
                say(f"{reason}: moved to {aside}")

    def _tabulate(self, runs: Sequence[Run]) -> None:
        """Write the tables that are not those of these runs already."""
        labels = {run.path.name: self.labels[run.path.name] for run in runs}
        self.tables.write(configurations_table(runs, labels))
        given = {"runs": [str(run.path) for run in runs], "labels": labels}
        given |= {"options": self.inventory["options"], "trust": self.trust}
        jobs = deque(
            Job.known(
                ("table", probe), f"probe {probe}", given | {"name": probe, "file": str(file)}
            )
            for probe, file in self.tables.stale(labels)
        )
        for ended in run_jobs(jobs, self.engine, self.signals, "Tables"):
            _stop_if_disk(ended.outcome)
            if "done" not in ended.outcome:
                say(self._record(ended.job.key[1], ended.job.what, ended.outcome))
        self.tables.drop(self.failed)  # they may hold fewer runs than there are now
