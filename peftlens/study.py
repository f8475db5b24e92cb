"""A study carried out: the runs that its file names, and the tables that they give.

DIR/study.toml            the file as it was given
    study.json            its runs, by id, with the names of their configurations
    runs/<run_id>/        see run.py, and store.py for what else may lie there
    failed/<run_id>.json  runs that raised or whose worker died: error, traceback, log
    tables/<probe>.parquet

This process trains nothing and loads no model: workers do, and one that dies costs one run.
"""

import json
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from peftlens import store, table
from peftlens.errors import BadInput
from peftlens.files import write_atomic
from peftlens.machine import share
from peftlens.progress import say
from peftlens.run import SCHEMA, Run
from peftlens.studyfile import text_of
from peftlens.supervising import Ended, Engine, Here, Job, Local, Message, Signals, supervise

E = TypeVar("E", bound=Engine)


@dataclass(frozen=True, kw_only=True)
class How:
    """How a study is carried out; none of it changes what comes out.

    Attributes:
        workers: runs trained at the same time; as many as the machine has room for by default, and
            0 for this process itself.
        threads: of each worker; see `machine.share`.
        engine: where workers are: processes on this machine, or Ray's cluster.
        shard: (i, n): the i-th of n parts of the study, counted from 1.
        only: patterns such as `lora*`; runs whose configuration or id fits none are left.
        retry_failed: train and measure once more what failed before.
        limit: seconds without a sign of progress after which a worker is taken for hung; 0: never.
        module: whose actions the workers offer.
    """

    workers: int | None = None
    threads: int | None = None
    engine: Literal["local", "ray"] = "local"
    shard: tuple[int, int] | None = None
    only: tuple[str, ...] = ()
    retry_failed: bool = False
    limit: float = 3600
    module: str = "peftlens.worker"


@dataclass(frozen=True)
class Outcome:
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


def carry_out(
    file: str | Path, out: str | Path, how: How | None = None, *, trust_remote_code: bool = False
) -> Outcome:
    """Train what is not trained yet, measure it, and write the tables.

    All runs are checked before the first is trained. A run that fails is recorded under failed/
    and the study goes on; a finished run is never trained again, and a failed one only if asked.

    Raises:
        BadInput: the file, or anything it names, can't be used.
        OSError: the disk is full or may not be written to; finished runs stay as they are.
        Stopped: Ctrl-C or SIGTERM; finished runs stay as they are.
    """
    how, out = how or How(), Path(out)
    text, index = text_of(Path(file)), _index(out)
    with Signals() as signals, _closed(_home(how)) as home:
        given = {"text": text, "source": str(file), "dtypes": index.get("dtypes")}
        job = Job("plan", "Planning", {"do": "plan", "with": given | {"trust": trust_remote_code}})
        if how.engine == "ray":  # nodes may have what this machine has not
            with _closed(_ray(out, how)) as engine:
                inventory = _plan(engine, job, signals)
        else:
            inventory = _plan(home, job, signals)
        study = _Study(out, how, inventory, home, signals, trust_remote_code)
        study.prepare(text)
        return study.carry_out()


def read_index(out: Path) -> dict[str, Any]:
    """What study.json says of a study's runs.

    Raises:
        BadInput: there is none, or a later version wrote it.
    """
    if not (out / "study.json").is_file():
        raise BadInput(f"{out} holds no study; run `peftlens study` first")
    return _index(out)


def _index(out: Path) -> dict[str, Any]:
    file = out / "study.json"
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text())
    except ValueError:
        return {}  # it is made anew out of the study's file
    if found.get("schema_version", 1) > SCHEMA:
        raise BadInput(f"{file} was written by a later version; upgrade peftlens, or give --out")
    return found


def _home(how: How) -> Here | Local:
    """What works on this machine; nobody knows yet how many workers there is room for."""
    if how.workers == 0:
        return Here(how.module)
    environment = share(1, 1, workers=1, threads=how.threads or 1).environments()
    return Local(environment, how.limit, how.module)


def _ray(out: Path, how: How, inventory: Mapping[str, Any] | None = None) -> Engine:
    """Workers on a cluster: one to plan with, or as many as there is room for."""
    from peftlens.cluster import Ray

    needs = {"num_cpus": how.threads or 1}
    if inventory:
        gpus = inventory["gpu_bytes"]
        needs |= {"num_gpus": -(-inventory["bytes_a_run"] // min(gpus))} if gpus else {}
        needs |= {} if gpus else {"memory": inventory["bytes_a_run"]}
    workers = how.workers if inventory else 1
    return Ray(out / "runs", needs, workers=workers, limit=how.limit, module=how.module)


@contextmanager
def _closed(engine: E) -> Iterator[E]:
    """Close it; at once where something was raised."""
    try:
        yield engine
    except BaseException:
        engine.close(now=True)
        raise
    engine.close(now=False)


def _plan(engine: Engine, job: Job, signals: Signals) -> dict[str, Any]:
    (ended,) = supervise(deque([job]), engine, signals)
    outcome = ended.outcome
    if "done" in outcome:
        return outcome["done"]
    _stop_if_disk(outcome)
    if outcome.get("mendable"):
        raise BadInput(outcome["failed"])
    raise RuntimeError(_told(outcome))


def _stop_if_disk(outcome: Message) -> None:
    if "disk" in outcome:
        raise OSError(outcome["errno"], f"{outcome['disk']}; finished runs are kept")


def _told(outcome: Message) -> str:
    """A failure in a line."""
    return outcome.get("failed") or outcome.get("died") or outcome.get("damaged", "")


@dataclass
class _Study:
    """One study under way.

    Attributes:
        inventory: what `grid.inventory` said.
        done: runs that are there and whole.
        failed: a line for each failure, by run id or probe.
        elsewhere: runs that another process is at.
    """

    out: Path
    how: How
    inventory: dict[str, Any]
    engine: Here | Local
    signals: Signals
    trust: bool
    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    elsewhere: set[str] = field(default_factory=set)

    @property
    def runs(self) -> Path:
        return self.out / "runs"

    @cached_property
    def ids(self) -> list[str]:
        return [run["id"] for run in self.inventory["runs"]]

    @cached_property
    def labels(self) -> dict[str, str]:
        return {run["id"]: run["configuration"] for run in self.inventory["runs"]}

    def prepare(self, text: str) -> None:
        """Write what the study is, and clear away what dead processes and older files left."""
        self.out.mkdir(parents=True, exist_ok=True)
        write_atomic(self.out / "study.toml", text.encode())
        index = {
            "schema_version": SCHEMA,
            "name": self.inventory["name"],
            "runs": self.ids,
            "configurations": self.labels,
            "seeds": {run["id"]: run["seed"] for run in self.inventory["runs"]},
            "dtypes": {self.inventory["device"]: self.inventory["dtype"]},
        }
        write_atomic(self.out / "study.json", (json.dumps(index, indent=2) + "\n").encode())
        if swept := store.sweep(self.runs):
            say(f"Deleted {swept} unfinished pieces that a stopped process had left")
        probes = {probe["name"] for probe in self.inventory["probes"]}
        again = self.selected | probes if self.how.retry_failed else set()
        _drop_stale(self.out / "failed", {*self.ids, *probes} - again)
        _drop_stale(self.out / "tables", probes)
        before = store.failures(self.out)
        ordered = [key for key in (*self.ids, *sorted(probes)) if key in before]
        self.failed = {key: f"{before[key]} (before; not tried again)" for key in ordered}

    def carry_out(self) -> Outcome:
        """Train, measure, tabulate."""
        self.done, damaged = store.finished(self.runs, self.ids)
        for run, reason in damaged.items():
            self._put_aside(run, reason)
        if self.done:
            say(f"{len(self.done)} of {len(self.ids)} runs are already there")
        self._work()
        self.done |= store.finished(self.runs, set(self.ids) - self.done)[0]
        left = [run for run in self.ids if run not in self.done and run not in self.failed]
        runs = {run: Run(self.runs / run) for run in self.ids if run in self.done}
        if left and (self.elsewhere or self.how.shard):
            say(f"{len(left)} runs are left to others; who finishes the last one writes the tables")
        elif runs:
            self._tables(runs)
        return Outcome(self.out, tuple(runs.values()), tuple(self.failed.values()), len(left))

    @cached_property
    def selected(self) -> set[str]:
        """Runs that are asked for, with those that they are trained on after.

        Raises:
            BadInput: there are none.
        """
        by_id = {run["id"]: run for run in self.inventory["runs"]}
        places: dict[str, int] = {}  # of sequences of tasks, which no shard may tear apart
        found = set()
        for run in self.inventory["runs"]:
            chain = [run]
            while chain[-1]["after"]:
                chain.append(by_id[chain[-1]["after"]])
            place = places.setdefault(chain[-1]["id"], len(places))
            part, parts = self.how.shard or (1, 1)
            if place % parts == part - 1 and self._fits(run):
                found |= {one["id"] for one in chain}
        if not found and self.how.only:
            known = ", ".join(dict.fromkeys(self.labels.values()))
            raise BadInput(f"--only {' '.join(self.how.only)}: no run fits; there are {known}")
        return found

    def _fits(self, run: Mapping[str, Any]) -> bool:
        return not self.how.only or any(
            fnmatchcase(name, pattern)
            for pattern in self.how.only
            for name in (run["id"], run["configuration"], _what(run))
        )

    def _work(self) -> None:
        """Train what is not there, and measure it and what is there already."""
        wanted = [run for run in self.inventory["runs"] if run["id"] in self.selected]
        jobs = deque(
            self._training(run)
            for run in wanted
            if run["id"] not in self.done and run["id"] not in self.failed
        )
        trainings = {job.key for job in jobs}
        measured = self._measured()
        for run in wanted:
            if run["id"] in self.done:
                jobs.extend(self._measuring(run, measured))
        if not jobs:
            return
        by_id = {run["id"]: run for run in wanted}
        number = 0
        with self._engine(len(jobs)) as engine:
            for ended in supervise(jobs, engine, self.signals, self.inventory["name"]):
                _stop_if_disk(ended.outcome)
                if ended.job.key not in trainings:
                    jobs.extend(self._after_measuring(ended, jobs))
                    continue
                number += 1
                say(f"[{number}/{len(trainings)}] {self._after_training(ended, jobs)}")
                if "done" in ended.outcome:
                    jobs.extend(self._measuring(by_id[ended.job.key], {}))

    def _training(self, run: Mapping[str, Any]) -> Job:
        given = {"config": run["config"], "run": run["id"], "runs": str(self.runs)}
        task = {"do": "train", "with": given | {"trust": self.trust}}
        return Job(run["id"], _what(run), task, needs=run["after"])

    def _measuring(
        self, run: Mapping[str, Any], measured: Mapping[str, Collection[str]]
    ) -> Iterator[Job]:
        probes = [
            probe["name"]
            for probe in self.inventory["probes"]
            if probe["each_run"]
            and probe["name"] not in self.failed
            and run["id"] not in measured.get(probe["name"], ())
        ]
        if probes:
            folder, options = str(self.runs / run["id"]), self.inventory["options"]
            given = {"run": folder, "probes": probes, "options": options}
            what = f"Measuring {_what(run)}"
            yield Job(f"measure {run['id']}", what, {"do": "measure", "with": given})

    @contextmanager
    def _engine(self, jobs: int) -> Iterator[Engine]:
        """Where runs are trained and measured."""
        if isinstance(self.engine, Here):
            yield self.engine
            return
        if self.how.engine == "ray":
            with _closed(_ray(self.out, self.how, self.inventory)) as engine:
                yield engine
            return
        shared = share(
            jobs,
            self.inventory["bytes_a_run"],
            gpu_bytes=self.inventory["gpu_bytes"],
            workers=self.how.workers,
            threads=self.how.threads,
        )
        self.engine.reshape(shared.environments())
        say(f"Workers: {shared.in_words()}")
        yield self.engine

    def _after_training(self, ended: Ended, jobs: deque[Job]) -> str:
        job, outcome = ended.job, ended.outcome
        if "done" in outcome:
            return f"{job.what}: {outcome['done']}"
        if "claimed" in outcome:
            self.elsewhere.add(job.key)
            for other in [one for one in jobs if one.needs in self.elsewhere]:
                self.elsewhere.add(other.key)
                jobs.remove(other)
            return f"{job.what}: another process is at it"
        return self._record(job.key, job.what, outcome)

    def _after_measuring(self, ended: Ended, jobs: deque[Job]) -> Iterator[Job]:
        """Record what failed; yields what is to be done once more."""
        job, outcome = ended.job, ended.outcome
        given = job.task["with"]
        wrong = outcome.get("done")
        if wrong is None:  # the worker died at one of them
            wrong = {outcome.get("at") or given["probes"][0]: outcome}
            yield job
        for probe, one in wrong.items():
            _stop_if_disk(one)
            if "damaged" in one:
                run = Path(given["run"]).name
                self._put_aside(run, one["damaged"])
                self.failed[run] = f"{one['damaged']}; put aside: the next time it is trained anew"
                continue
            self._record(probe, f"probe {probe}", one)
            for other in (job, *jobs):
                with suppress(KeyError, ValueError):  # a training; or it was measured before
                    other.task["with"]["probes"].remove(probe)

    def _record(self, key: str, what: str, outcome: Message) -> str:
        """Keep a failure on disk; returns it in a line."""
        told = f"{what}: failed: {_told(outcome)}"
        known = {key: outcome[key] for key in ("error", "traceback", "log") if key in outcome}
        text = json.dumps({"what": what, "told": _told(outcome)} | known, indent=2) + "\n"
        (self.out / "failed").mkdir(exist_ok=True)
        write_atomic(self.out / "failed" / f"{key}.json", text.encode())
        self.failed[key] = told
        return told

    def _put_aside(self, run: str, reason: str) -> None:
        self.done.discard(run)
        with suppress(store.Claimed):
            say(f"{reason}: moved to {store.quarantine(self.runs, run)}")

    def _measured(self) -> dict[str, set[str]]:
        """Runs that a table of this version and these options holds already, by probe."""
        found = {}
        for probe in self.inventory["probes"]:
            known = self._table(probe) if probe["each_run"] else None
            if known is not None:
                found[probe["name"]] = set(known.frame["run"])
        return found

    def _table(self, probe: Mapping[str, Any]) -> table.Table | None:
        """A probe's table, if it would be made the same way now."""
        file = self.out / "tables" / f"{probe['name']}.parquet"
        with suppress(FileNotFoundError, BadInput):  # none yet, or damaged: made anew
            known = table.read(file)
            if (known.version, known.config) == (probe["version"], probe["config"]):
                return known
        return None

    def _tables(self, runs: Mapping[str, Run]) -> None:
        """Write the tables that are not those of these runs already."""
        expected = [(run, self.labels[run]) for run in runs]
        stale = [
            probe
            for probe in self.inventory["probes"]
            if probe["each_run"]
            and ((known := self._table(probe)) is None or _rows(known) != expected)
        ]
        for probe in self.inventory["probes"]:
            if not probe["each_run"] and (stale or self._table(probe) is None):
                stale.append(probe)
        jobs = deque(self._tabulating(probe["name"], runs) for probe in stale)
        for ended in supervise(jobs, self.engine, self.signals, "Tables"):
            _stop_if_disk(ended.outcome)
            if "done" not in ended.outcome:
                say(self._record(ended.job.key, ended.job.what, ended.outcome))
        for name in self.failed:  # its table may hold fewer runs than there are now
            (self.out / "tables" / f"{name}.parquet").unlink(missing_ok=True)

    def _tabulating(self, name: str, runs: Mapping[str, Run]) -> Job:
        given = {
            "name": name,
            "runs": [str(run.path) for run in runs.values()],
            "labels": self.labels,
            "options": self.inventory["options"],
            "file": str(self.out / "tables" / f"{name}.parquet"),
        }
        return Job(name, f"probe {name}", {"do": "table", "with": given})


def _rows(known: table.Table) -> list[tuple[str, str]]:
    """The runs of a table in its order, with the names of their configurations."""
    return list(dict.fromkeys(zip(known.frame["run"], known.frame["configuration"], strict=True)))


def _what(run: Mapping[str, Any]) -> str:
    return f"{run['configuration']} seed={run['seed']}"


def _drop_stale(folder: Path, names: Collection[str]) -> None:
    """Delete what an earlier version of the study file left, so that no report shows it."""
    for file in folder.glob("*"):
        if file.stem not in names:
            file.unlink(missing_ok=True)
