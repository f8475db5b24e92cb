"""A study: a TOML file that names a grid, the runs it expands to, and the tables they give.

DIR/study.toml            the file as it was given
    study.json            its runs, by id, with the names of their configurations
    runs/<run_id>/        see run.py
    failed/<run_id>.json  runs that raised: configuration, error and traceback
    tables/<probe>.parquet
"""

import itertools
import json
import re
import tomllib
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from peftlens import measuring, registry, table, training
from peftlens.errors import BadInput, explain
from peftlens.files import write_atomic
from peftlens.models.base import discard_resident, resident
from peftlens.models.lending import state_of
from peftlens.planning import Plan, plan
from peftlens.progress import say
from peftlens.run import (
    Device,
    Dtype,
    Run,
    RunConfig,
    Strict,
    TrainingConfig,
    configurations,
)
from peftlens.tasks import load_task


class TaskEntry(BaseModel):
    """The study's task: its name, and any option of the task's Config."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str


class Continual(Strict):
    """Tasks that every configuration is trained on, one after the other.

    Both regimes are trained: one adapter all along, and a new one for each task.

    Attributes:
        tasks: in the order of the file, or of what a seed draws; told apart by their names.
        order: given: the same for all seeds; by_seed: drawn anew with each.
        items: test examples of each task that are scored; 0 takes all.
    """

    tasks: Annotated[tuple[TaskEntry, ...], Field(min_length=2)]
    order: Literal["given", "by_seed"] = "given"
    items: Annotated[int, Field(ge=0)] = 200

    @field_validator("tasks")
    @classmethod
    def _different(cls, tasks: tuple[TaskEntry, ...]) -> tuple[TaskEntry, ...]:
        names = [task.name for task in tasks]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{twice[0]} is named twice")
        return tasks

    def ordered(self, seed: int) -> list[TaskEntry]:
        """The tasks as one seed meets them."""
        if self.order == "given":
            return list(self.tasks)
        return [self.tasks[i] for i in np.random.default_rng(seed).permutation(len(self.tasks))]


class RunsEntry(Strict):
    """One [[runs]] table: a method, and every combination of its grid.

    Attributes:
        method: name of a file in methods/.
        config: values of the method's Config, the same for all runs of the entry.
        grid: lists of values, for keys of the method's Config or of the training.
        training: overrides of the study's training.
    """

    method: str
    config: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)


class StudyConfig(Strict):
    """What a study file holds.

    Attributes:
        name: of the study, for titles.
        task: data and scoring; a continual study has tasks instead.
        continual: a sequence of tasks.
        base: see `RunConfig`.
        training: of every run, where the run does not say otherwise.
        seeds: every configuration is trained once with each.
        probes: what is measured; by default every probe but those for a closer look.
        probe_options: values of probes' Configs, by the probe's name.
        runs: the grid.
    """

    name: str
    task: TaskEntry | None = None
    continual: Continual | None = None
    base: str = "smollm2-135m"
    device: Device = "auto"
    dtype: Dtype = "auto"
    training: TrainingConfig = TrainingConfig()
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    probes: tuple[str, ...] | None = None
    probe_options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    runs: Annotated[tuple[RunsEntry, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _one_kind(self) -> "StudyConfig":
        if (self.task is None) == (self.continual is None):
            raise ValueError("give [task] for a study of one task, or [continual] for a sequence")
        return self

    @property
    def tasks(self) -> tuple[TaskEntry, ...]:
        """The one task, or those of the sequence."""
        return self.continual.tasks if self.continual else (self.task,) if self.task else ()


@dataclass(frozen=True)
class Outcome:
    """What became of a study.

    Attributes:
        folder: where it lies.
        runs: finished runs, in the study's order.
        failed: one line for each run or probe that raised.
    """

    folder: Path
    runs: tuple[Run, ...]
    failed: tuple[str, ...]


def parse(text: str, source: str) -> StudyConfig:
    """Read a study file.

    Raises:
        BadInput: no TOML, an unknown key, or a wrong value; the message names the line.
    """
    try:
        study = StudyConfig.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{source}: {error}") from error
    except ValidationError as error:
        # a misspelt key is also a missing one; the line where it stands is more use
        problem = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        where = ".".join(str(part) for part in problem["loc"])
        line = _line_of(text, problem["loc"])
        raise BadInput(f"{source}, line {line}: {where}: {problem['msg']}") from error
    for name in study.probes or ():
        registry.check("probes", name)
    for name, values in study.probe_options.items():
        try:
            measuring.configure(name, values)
        except BadInput as error:
            raise BadInput(f"{source}, [probe_options.{name}]: {error}") from error
    return study


def _line_of(text: str, place: tuple[str | int, ...]) -> int:
    """The line where a key stands, or else the line of the table that it would stand in."""
    lines = text.splitlines()
    start, end = 0, len(lines)
    if len(place) > 1 and place[0] == "runs" and isinstance(place[1], int):
        start = _entry_line(text, place[1]) - 1
    elif len(place) > 1:
        start = next((n for n, line in enumerate(lines) if line.strip() == f"[{place[0]}]"), 0)
    else:  # the keys of the file itself stand before the first table
        end = next((n for n, line in enumerate(lines) if line.startswith("[")), end)
    key = next((part for part in reversed(place) if isinstance(part, str)), "")
    pattern = re.compile(rf"(^|[\s{{,\[])\"?{re.escape(key)}\"?\s*(=|\])")
    found = (n for n, line in enumerate(lines[start:end], start) if pattern.search(line))
    return next(found, start) + 1


def _entry_line(text: str, index: int) -> int:
    """Line of the [[runs]] header with this index; the first line where runs is written inline."""
    headers = [n for n, line in enumerate(text.splitlines(), 1) if line.strip() == "[[runs]]"]
    return headers[index] if index < len(headers) else 1


def expand(study: StudyConfig, entry: RunsEntry) -> Iterator[list[RunConfig]]:
    """Every run of one [[runs]] entry: its grid, with every seed.

    Yields:
        A list for each configuration and seed: of one run, or of one for each task of a sequence.

    Raises:
        BadInput: an unknown method, or a wrong value.
    """
    registry.check("methods", entry.method)
    for values in itertools.product(*entry.grid.values()):
        chosen = dict(zip(entry.grid, values, strict=True))
        ours = {key: chosen.pop(key) for key in entry.grid if key in TrainingConfig.model_fields}
        merged = study.training.model_dump() | entry.training | ours
        for seed in study.seeds:
            tasks = study.continual.ordered(seed) if study.continual else study.tasks
            one = _run_config(study, entry.method, entry.config | chosen, merged, seed)
            yield [
                one.model_copy(update={"task": task.name, "task_config": task.model_extra or {}})
                for task in tasks
            ]


def _run_config(
    study: StudyConfig, method: str, config: dict[str, Any], merged: dict[str, Any], seed: int
) -> RunConfig:
    try:
        return RunConfig(
            method=method,
            method_config=config,
            task=study.tasks[0].name,
            base=study.base,
            device=study.device,
            dtype=study.dtype,
            training=TrainingConfig.model_validate(merged),
            seed=seed,
        )
    except ValidationError as error:
        raise BadInput(f"{method}: {explain(error)}") from error


def carry_out(file: str | Path, out: str | Path, *, trust_remote_code: bool = False) -> Outcome:
    """Train what is not trained yet, measure it, and write the tables.

    All runs are checked before the first is trained. A run that raises is recorded under failed/
    and the study goes on; a finished run is never trained again.

    Raises:
        BadInput: the file, or anything it names, can't be used.
        OSError: the disk is full or may not be written to; finished runs stay as they are.
        RuntimeError: a run changed the base model, and so the next ones would be wrong.
    """
    text, out = _read(Path(file)), Path(out)
    study = parse(text, str(file))
    _check_shared(study, str(file), trust_remote_code)
    plans = _plans(study, text, str(file), trust_remote_code)
    labels = configurations(plans)
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "study.toml", text.encode())
    index = {"name": study.name, "runs": list(labels), "configurations": labels}
    write_atomic(out / "study.json", (json.dumps(index, indent=2) + "\n").encode())
    probes = _default_probes(study) if study.probes is None else study.probes
    options = study.probe_options
    if study.continual:
        asked = {"tasks": [task.model_dump() for task in study.continual.tasks],
                 "items": study.continual.items}  # fmt: skip
        options = {"sequence_scores": asked} | options
    _drop_stale(out / "failed", (*labels, *probes))
    _drop_stale(out / "tables", probes)
    failed = list(_train_all(plans, labels, out))
    runs = [Run(out / "runs" / run) for run in labels if (out / "runs" / run).exists()]
    failed += _Measuring(probes, options, runs, labels, out).all()
    return Outcome(out, tuple(runs), tuple(failed))


def _default_probes(study: StudyConfig) -> tuple[str, ...]:
    names = registry.names("probes")
    asked = {name for name in names if getattr(registry.load("probes", name), "ON_REQUEST", False)}
    if study.continual:
        asked -= {"sequence_scores", "continual", "continual_matrix"}
    return tuple(name for name in names if name not in asked)


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except FileNotFoundError as error:
        raise BadInput(f"no study file {str(file)!r}; give the path of a TOML file") from error
    except (IsADirectoryError, UnicodeDecodeError) as error:
        raise BadInput(f"{str(file)!r} is no text file; give the path of a TOML file") from error


def _check_shared(study: StudyConfig, source: str, trust: bool) -> None:
    """Open what all runs share, so that no [[runs]] entry is blamed for it."""
    try:
        for task in study.tasks:
            load_task(task.name, task.model_extra or {})
        resident(study.base, device=study.device, dtype=study.dtype, trust_remote_code=trust)
    except BadInput as error:
        raise BadInput(f"{source}: {error}") from error


def _plans(study: StudyConfig, text: str, source: str, trust: bool) -> list[Plan]:
    plans: dict[str, Plan] = {}
    for index, entry in enumerate(study.runs):
        try:
            for configs in expand(study, entry):
                for planned in _chained(configs, trust):
                    plans.setdefault(planned.id, planned)
        except BadInput as error:
            line = _entry_line(text, index)
            raise BadInput(f"{source}, [[runs]] at line {line}: {error}") from error
    return list(plans.values())


def _chained(configs: list[RunConfig], trust: bool) -> Iterator[Plan]:
    """The runs of one configuration and seed: each task alone, and each after the one before it."""
    before: Plan | None = None
    for config in configs:
        alone = plan(config, trust)
        yield alone
        if before is None:
            before = alone
        else:
            before = plan(config.model_copy(update={"after": before.id}), trust)
            yield before


def _train_all(plans: list[Plan], labels: dict[str, str], out: Path) -> Iterator[str]:
    before = state_of(plans[0].base.model)
    left = [planned for planned in plans if not (out / "runs" / planned.id).exists()]
    if len(left) < len(plans):
        say(f"{len(plans) - len(left)} of {len(plans)} runs are already there")
    for number, planned in enumerate(left, 1):
        what = f"{labels[planned.id]} seed={planned.config.seed}"
        failure = _attempt(
            what,
            out / "failed" / f"{planned.id}.json",
            lambda p=planned: training.carry_out(p, out / "runs"),
        )
        done = Run(out / "runs" / planned.id)
        say(f"[{number}/{len(left)}] {failure or f'{what}: {_in_words(done)}'}")
        if failure:
            yield failure
        if state_of(planned.base.model) != before:
            discard_resident()
            raise RuntimeError(
                f"{what} left the base model changed; this is a defect of {planned.config.method}"
            )


def _in_words(run: Run) -> str:
    results = run.record.results
    if run.record.status == "diverged":
        return "diverged"
    score = results.get("validation_accuracy")
    shown = f"loss {results['validation_loss']:.3f}" if score is None else f"accuracy {score:.3f}"
    return f"{shown} on validation, {run.timing()[-1]['seconds']:.0f} s of training"


def _attempt(what: str, record: Path, action: Callable[[], object]) -> str | None:
    """Do it; if it raises, keep the error and its traceback on disk and say so in one line."""
    try:
        action()
    except OSError:
        raise  # the disk: nothing that follows would fare better
    except Exception as error:  # noqa: BLE001  # one failure must not cost the other runs
        told = f"{what}: failed: {' '.join(str(error).split()) or type(error).__name__}"
        record.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(traceback.format_exception(error))
        about = {"what": what, "error": f"{type(error).__name__}: {error}", "traceback": lines}
        write_atomic(record, (json.dumps(about, indent=2) + "\n").encode())
        return told
    record.unlink(missing_ok=True)
    return None


def _drop_stale(folder: Path, names: Collection[str]) -> None:
    """Delete what an earlier version of the study file left, so that no report shows it."""
    for file in folder.glob("*"):
        if file.stem not in names:
            file.unlink()


@dataclass(frozen=True)
class _Measuring:
    """Every probe on every run of a study; what fails is recorded, and costs one table."""

    probes: Sequence[str]
    options: measuring.Options
    runs: list[Run]
    labels: dict[str, str]
    out: Path

    def all(self) -> Iterator[str]:
        """Measure and write the tables; yields a line for each that failed."""
        if not self.runs:
            return
        (self.out / "tables").mkdir(exist_ok=True)
        self._runs()
        for name in self.probes:
            file = self.out / "tables" / f"{name}.parquet"
            failure = self._attempt(name, lambda n=name, f=file: self._table(n, f))
            if failure:
                file.unlink(missing_ok=True)  # it may hold fewer runs than there are now
                say(failure)
                yield failure

    def _runs(self) -> None:
        """Run after run, for the probes of one run share much of their work.

        What fails is tried no further; it fails again, and is told, where its table is made.
        """
        probes = {name: registry.load("probes", name) for name in self.probes}
        left = {name for name, probe in probes.items() if hasattr(probe, "measure")}
        for number, run in enumerate(self.runs, 1):
            what = f"{self.labels[run.id]} seed={run.config.seed}"
            say(f"[{number}/{len(self.runs)}] Measuring {what}")
            for name in sorted(left):
                if self._attempt(
                    name, lambda r=run, n=name: measuring.run_probe(r, n, self.options)
                ):
                    left.remove(name)

    def _table(self, name: str, file: Path) -> None:
        table.write(measuring.collect(self.runs, name, self.labels, self.options), file)

    def _attempt(self, name: str, action: Callable[[], object]) -> str | None:
        return _attempt(f"probe {name}", self.out / "failed" / f"{name}.json", action)
