"""Schema and parser of study files: a task or a sequence of tasks, and a grid of runs."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import fields
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    ValidationError,
    field_validator,
    model_validator,
)

from peftlens import registry
from peftlens.errors import InputError, reason, suggestion, validation_summary
from peftlens.options import takes_any_key
from peftlens.runs.config import Device, Dtype, RunConfig, StrictModel, TrainingConfig
from peftlens.studies.decisions import Decisions
from peftlens.studies.misplaced_keys import belongs_in
from peftlens.studies.study_file import dotted, load, unusable_values
from peftlens.studies.study_text import StudyText
from peftlens.studies.toml_lines import Place

Seed = Annotated[StrictInt, Field(ge=0, lt=2**32)]
TorchCompile = bool | Literal["auto"]
MOST_RUNS = 10_000  # planning that many takes half a minute


class TaskEntry(BaseModel):
    """Task of a study: its name, and any option of the task's Config.

    Attributes:
        name: name of the task.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str


class Continual(StrictModel):
    """Sequence of tasks, on which every configuration is trained one after the other.

    Both regimes are trained: one adapter for the whole sequence, and a new one for each task.

    Attributes:
        tasks: tasks in the order of the file, each with a different name.
        order: order of training; given: the file's order for all seeds; by_seed: a random
            permutation for each seed.
        items: number of scored test examples per task; 0 for all of them.
    """

    tasks: Annotated[tuple[TaskEntry, ...], Field(min_length=2)]
    order: Literal["given", "by_seed"] = "given"
    items: Annotated[int, Field(ge=0)] = 200

    @field_validator("tasks")
    @classmethod
    def _check_names(cls, tasks: tuple[TaskEntry, ...]) -> tuple[TaskEntry, ...]:
        names = [task.name for task in tasks]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{repeated[0]} is named twice")
        return tasks

    def ordered(self, seed: int) -> list[TaskEntry]:
        """Return the tasks in the order of one seed."""
        if self.order == "given":
            return list(self.tasks)
        return [self.tasks[i] for i in np.random.default_rng(seed).permutation(len(self.tasks))]


class RunsEntry(StrictModel):
    """One [[runs]] table: a method, and all combinations of its grid values.

    Attributes:
        method: name of the method, a file in methods/.
        config: values of the method's Config, shared by all runs of the entry.
        grid: lists of values for keys of the method's Config or of the training.
        training: overrides of the study's training.
    """

    method: str
    config: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)


class StudyConfig(StrictModel):
    """Contents of a study file.

    Attributes:
        name: title of the study.
        task: task of all runs; None in a continual study.
        continual: sequence of tasks; None in a study of one task.
        base_model: base model of all runs; see `RunConfig`.
        device: device of all runs; see `RunConfig`.
        dtype: dtype of the base model's weights; see `RunConfig`.
        training: default training configuration of all runs.
        torch_compile: whether the blocks of the base are compiled for training; auto where the
            runs of a method's configuration save more than it takes. Results differ by rounding.
        seeds: random seeds; every configuration is trained once with each of them.
        probes: names of the measured probes; None for all probes that are not optional.
        probe_options: values of the probes' Configs, by the probe's name.
        runs: entries of the grid.
        decisions: how claims are decided by `peftlens study FILE --until-decided`; of no other use.
        full_scale: replacements of the keys above in the larger study; tables such as training are
            merged key by key.
    """

    name: str
    task: TaskEntry | None = None
    continual: Continual | None = None
    base_model: str = "smollm2-135m"
    device: Device = "auto"
    dtype: Dtype = "auto"
    training: TrainingConfig = TrainingConfig()
    torch_compile: TorchCompile = "auto"
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    probes: tuple[str, ...] | None = None
    probe_options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    runs: Annotated[tuple[RunsEntry, ...], Field(min_length=1)]
    decisions: Decisions = Decisions()
    full_scale: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_kind(self) -> "StudyConfig":
        if (self.task is None) == (self.continual is None):
            raise ValueError("give [task] for a study of one task, or [continual] for a sequence")
        return self

    @property
    def tasks(self) -> tuple[TaskEntry, ...]:
        """The one task, or the tasks of the sequence."""
        return self.continual.tasks if self.continual else (self.task,) if self.task else ()

    @property
    def n_runs(self) -> int:
        """Number of runs, counted from the lengths of the lists; equal runs count twice."""
        configurations = sum(math.prod(map(len, entry.grid.values())) for entry in self.runs)
        return configurations * len(self.seeds) * (2 * len(self.tasks) - 1)


def parse(text: str, source: str, full: bool = False) -> StudyConfig:
    """Parse a study file.

    Args:
        text: text of the file.
        source: name of the file, for errors.
        full: whether to return the larger study of the table [full_scale].

    Raises:
        InputError: the text is not TOML, or has an unknown key or a wrong value; the message names
            the line.
    """
    document = load(text, source)
    for place, problem in unusable_values(document):
        raise StudyText(text, source).error(place, f"{dotted(place)} {problem}")
    if full and not document.get("full_scale"):
        raise InputError(f"{source} has no table [full_scale]; leave --full-scale")
    small = study = _validated(document, StudyText(text, source, full=False))
    if document.get("full_scale"):
        study = _validated(_full_scale(document), StudyText(text, source, full=True))
    return study if full else small


def _validated(document: dict[str, Any], text: StudyText) -> StudyConfig:
    """Check a study's keys and values, the names of its probes and the number of its runs."""
    try:
        study = StudyConfig.model_validate(document)
    except ValidationError as error:
        # a misspelled key is also a missing one, and only the first of the two errors has a line
        problem = min(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
        place = problem["loc"]
        written = place if problem["type"] == "missing" else _written(document, place)
        where = f"{dotted(written)}: " if written else ""
        is_unknown = problem["type"] == "extra_forbidden"
        home = belongs_in(place, document, StudyConfig) if is_unknown and not text.full else ""
        why = f"unknown key; {home}" if home else reason(problem, StudyConfig)
        raise text.error(place, where + why) from error
    for index, name in enumerate(study.probes or ()):
        with text.located(("probes", index)):
            registry.check("probes", name)
    for index, name in enumerate(study.decisions.claims):
        with text.located(("decisions", "claims", index)):
            registry.check("claims", name)
    _check_size(study, text.source)
    return study


def _written(document: Any, place: Place) -> Place:
    """Return the beginning of a place that is in a document; pydantic adds types to it."""
    for depth, part in enumerate(place):
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):
            return place[:depth]
    return place


def _check_size(study: StudyConfig, source: str) -> None:
    """Refuse a grid that would take hours to plan, before any of its runs is built.

    Raises:
        InputError: there are too many runs; the message has their number.
    """
    if study.n_runs > MOST_RUNS:
        raise InputError(
            f"{source}: its grids and seeds make {study.n_runs:,} runs, more than the "
            f"{MOST_RUNS:,} of a study; shorten the lists, or split them into several files"
        )


def _full_scale(document: dict[str, Any]) -> dict[str, Any]:
    """Merge the table [full_scale] of a file into the rest of it."""
    return document | {
        key: document[key] | value if type(value) is type(document.get(key)) is dict else value
        for key, value in document["full_scale"].items()
    }


def expand(study: StudyConfig, entry: RunsEntry) -> Iterator[list[RunConfig]]:
    """Expand one [[runs]] entry into runs: all combinations of its grid, with every seed.

    Yields:
        The runs of one configuration and seed: a single run, or one for each task of the sequence.

    Raises:
        InputError: the method is unknown, or a value is wrong.
    """
    registry.check("methods", entry.method)
    _check_keys(entry)
    for values in itertools.product(*entry.grid.values()):
        method_values = dict(zip(entry.grid, values, strict=True))
        training_values = {
            key: method_values.pop(key) for key in entry.grid if key in TrainingConfig.model_fields
        }
        training = study.training.model_dump() | entry.training | training_values
        _require_sequence(study, training.get("keep"))
        for seed in study.seeds:
            config = _run_config(study, entry.method, entry.config | method_values, training, seed)
            tasks = study.continual.ordered(seed) if study.continual else study.tasks
            yield [
                config.model_copy(update={"task": task.name, "task_config": task.model_extra or {}})
                for task in tasks
            ]


def _check_keys(entry: RunsEntry) -> None:
    """Refuse keys of a grid that neither method nor training has, and training's in config.

    Raises:
        InputError: such a key; the message names the nearest of either.
    """
    method = registry.load("methods", entry.method)
    if takes_any_key(method.Config):
        return
    options = [field.name for field in fields(method.Config)]
    training = [*TrainingConfig.model_fields]
    for key in (*entry.grid, *entry.config):
        if key not in (*options, *training):
            remedy = suggestion(key, [*options, *(training if key in entry.grid else [])], "it has")
            raise InputError(f"{entry.method} has no option {key!r}; {remedy}")
    if wrong := [key for key in entry.config if key in training and key not in options]:
        raise InputError(
            f"{entry.method} has no option {wrong[0]!r}; it is one of training: write it there, "
            "or into grid"
        )


def _require_sequence(study: StudyConfig, keep: Any) -> None:
    """Refuse to project off earlier tasks where there are none.

    Raises:
        InputError: the study has one task.
    """
    kind = keep.get("kind") if isinstance(keep, dict) else None
    if kind == "orthogonal" and study.continual is None:
        raise InputError(
            "training.keep: orthogonal projects off earlier tasks, and this study has one [task]; "
            "give [continual], or take another kind"
        )


def _run_config(
    study: StudyConfig, method: str, config: dict[str, Any], training: dict[str, Any], seed: int
) -> RunConfig:
    try:
        return RunConfig(
            method=method,
            method_config=config,
            task=study.tasks[0].name,
            base_model=study.base_model,
            device=study.device,
            dtype=study.dtype,
            training=TrainingConfig.model_validate(training),
            seed=seed,
        )
    except ValidationError as error:
        raise InputError(f"{method}: {validation_summary(error, TrainingConfig)}") from error
