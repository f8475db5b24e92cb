"""What a study file says: a task or a sequence of them, and a grid of runs."""

import itertools
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from peftlens import registry
from peftlens.errors import InputError, reason, validation_summary
from peftlens.runs.config import Device, Dtype, RunConfig, StrictModel, TrainingConfig


class TaskEntry(BaseModel):
    """The study's task: its name, and any option of the task's Config."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str


class Continual(StrictModel):
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


class RunsEntry(StrictModel):
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


class StudyConfig(StrictModel):
    """What a study file holds.

    Attributes:
        name: of the study, for titles.
        task: data and scoring; a continual study has tasks instead.
        continual: a sequence of tasks.
        base_model: see `RunConfig`.
        training: of every run, where the run does not say otherwise.
        seeds: every configuration is trained once with each.
        probes: what is measured; by default every probe but those for a closer look.
        probe_options: values of probes' Configs, by the probe's name.
        runs: the grid.
        full_scale: keys that stand in the place of those above where the larger study is asked for;
            tables such as training are taken over those above key by key.
    """

    name: str
    task: TaskEntry | None = None
    continual: Continual | None = None
    base_model: str = "smollm2-135m"
    device: Device = "auto"
    dtype: Dtype = "auto"
    training: TrainingConfig = TrainingConfig()
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    probes: tuple[str, ...] | None = None
    probe_options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    runs: Annotated[tuple[RunsEntry, ...], Field(min_length=1)]
    full_scale: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_kind(self) -> "StudyConfig":
        if (self.task is None) == (self.continual is None):
            raise ValueError("give [task] for a study of one task, or [continual] for a sequence")
        return self

    @property
    def tasks(self) -> tuple[TaskEntry, ...]:
        """The one task, or those of the sequence."""
        return self.continual.tasks if self.continual else (self.task,) if self.task else ()


def read_text(file: Path) -> str:
    """The text of a study file.

    Raises:
        InputError: there is none.
    """
    try:
        return file.read_text()
    except FileNotFoundError as error:
        raise InputError(f"no study file {str(file)!r}; give the path of a TOML file") from error
    except (IsADirectoryError, UnicodeDecodeError) as error:
        raise InputError(f"{str(file)!r} is no text file; give the path of a TOML file") from error


def parse(text: str, source: str, full: bool = False) -> StudyConfig:
    """Read a study file.

    Args:
        text: what it says.
        source: its name, for errors.
        full: the larger study that its table [full_scale] describes.

    Raises:
        InputError: no TOML, an unknown key, or a wrong value; the message names the line.
    """
    larger = False
    try:
        said = tomllib.loads(text)
        if full and not said.get("full_scale"):
            raise InputError(f"{source} has no table [full_scale]; leave --full-scale")
        small = StudyConfig.model_validate(said)
        larger = bool(said.get("full_scale"))
        study = StudyConfig.model_validate(_enlarged(said)) if larger else small
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{source}: {error}") from error
    except ValidationError as error:
        # a misspelled key is also a missing one; the line where it stands is more use
        problem = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        where = ".".join(str(part) for part in problem["loc"])
        line = _line_of(text, problem["loc"], larger)
        raise InputError(f"{source}, line {line}: {where}: {reason(problem)}") from error
    for name in (*(small.probes or ()), *(study.probes or ())):
        registry.check("probes", name)
    return study if full else small


def _enlarged(said: dict[str, Any]) -> dict[str, Any]:
    """What a file says with its table [full_scale] taken over it."""
    return said | {
        key: said[key] | value if type(value) is type(said.get(key)) is dict else value
        for key, value in said["full_scale"].items()
    }


def _line_of(text: str, place: tuple[str | int, ...], full: bool) -> int:
    """The line where a key stands, or else the line of the table that it would stand in."""
    lines = text.splitlines()
    start, end = 0, len(lines)
    if len(place) > 1 and place[0] == "runs" and isinstance(place[1], int):
        start = entry_line(text, place[1], full) - 1
    elif len(place) > 1:
        tables = [f"[full_scale.{place[0]}]"] * full + [f"[{place[0]}]"]
        headers = {line.strip(): n for n, line in reversed([*enumerate(lines)])}
        start = next((headers[table] for table in tables if table in headers), 0)
    else:  # the keys of the file itself stand before the first table
        end = next((n for n, line in enumerate(lines) if line.startswith("[")), end)
    key = next((part for part in reversed(place) if isinstance(part, str)), "")
    pattern = re.compile(rf"(^|[\s{{,\[])\"?{re.escape(key)}\"?\s*(=|\])")
    found = (n for n, line in enumerate(lines[start:end], start) if pattern.search(line))
    return next(found, start) + 1


def entry_line(text: str, index: int, full: bool = False) -> int:
    """Line of the [[runs]] header with this index; the first line where runs is written inline.

    The larger study has its own, [[full_scale.runs]], or else the same.
    """
    lines = [line.strip() for line in text.splitlines()]
    wanted = "[[full_scale.runs]]" if full and "[[full_scale.runs]]" in lines else "[[runs]]"
    headers = [n for n, line in enumerate(lines, 1) if line == wanted]
    return headers[index] if index < len(headers) else 1


def expand(study: StudyConfig, entry: RunsEntry) -> Iterator[list[RunConfig]]:
    """Every run of one [[runs]] entry: its grid, with every seed.

    Yields:
        A list for each configuration and seed: of one run, or of one for each task of a sequence.

    Raises:
        InputError: an unknown method, or a wrong value.
    """
    registry.check("methods", entry.method)
    for values in itertools.product(*entry.grid.values()):
        chosen = dict(zip(entry.grid, values, strict=True))
        ours = {key: chosen.pop(key) for key in entry.grid if key in TrainingConfig.model_fields}
        merged = study.training.model_dump() | entry.training | ours
        for seed in study.seeds:
            one = _run_config(study, entry.method, entry.config | chosen, merged, seed)
            tasks = study.continual.ordered(seed) if study.continual else study.tasks
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
            base_model=study.base_model,
            device=study.device,
            dtype=study.dtype,
            training=TrainingConfig.model_validate(merged),
            seed=seed,
        )
    except ValidationError as error:
        raise InputError(f"{method}: {validation_summary(error)}") from error
