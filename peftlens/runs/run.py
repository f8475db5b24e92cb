"""The run on disk: the one thing that training writes and everything else reads.

<run_id>/run.json             what was asked for, what it depended on, what came out
         adapter/             adapter_config.json and adapter_model.safetensors
         checkpoints/<step>/  the same, before the last step
         metrics.jsonl        what the seed decides: losses and scores
         timing.jsonl         what the machine decides: seconds, tokens per second, memory
         digests.json         SHA-256 of all of these, by their paths
         probes/<probe>.parquet
"""

import importlib.metadata
import json
import os
import platform
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from html import escape
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from peftlens.errors import InputError, validation_summary
from peftlens.io.escaping import visible
from peftlens.io.files import TEMPORARY_PREFIX, canonical_json, sha256_file, sha256_text
from peftlens.numerics.rounding import number
from peftlens.runs.config import UNKNOWN_TASK, RunConfig
from peftlens.runs.trained_model import TrainedModel

SCHEMA = 2  # 1: before 0.1.0, with the old names of `errors.RENAMED_KEYS`
# Versions that can change a result; another one makes another run.
MATTERS = ("peftlens", "torch", "transformers", "peft", "tokenizers", "accelerate", "numpy")

_DIGESTS = TypeAdapter(dict[str, str])


class Record(BaseModel):
    """What run.json holds.

    Attributes:
        schema_version: of this layout; a newer one is read but never written over.
        id: see `run_id`.
        configuration: method and hyperparameters without the seed, in a few words.
        config: the configuration with every default filled in.
        depends_on: hashes of base and data, and the versions that matter.
        environment: the machine and all versions; for the reader, not part of the id.
        status: diverged: the loss was not finite, and training stopped there.
        results: counts and final scores.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    schema_version: int
    id: str
    configuration: str
    config: RunConfig
    depends_on: dict[str, Any]
    environment: dict[str, Any]
    status: Literal["finished", "diverged"]
    results: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Write run.json."""
        text = json.dumps(self.model_dump(mode="json"), indent=2, allow_nan=False)
        (folder / "run.json").write_text(text + "\n")


class _SchemaVersion(BaseModel):
    """The one field of run.json that every version can read."""

    schema_version: int


def require_schema(version: int, file: Path) -> None:
    """Refuse a file of another version, whose keys could mean something else.

    Raises:
        InputError: with the remedy.
    """
    if version > SCHEMA:
        raise InputError(f"{file} was written by a later version; upgrade peftlens to read it")
    if version < SCHEMA:
        raise InputError(
            f"{file} was written before peftlens 0.1.0 with other keys (base is called base_model "
            "now, steps max_steps, after continue_from); run it again in a new folder"
        )


class CorruptedRunError(InputError):
    """A file of a run is not as it was written."""


def run_id(config: RunConfig, depends_on: dict[str, Any]) -> str:
    """First 12 hex digits of the SHA-256 of all that decides the result."""
    identity = {"config": config.model_dump(mode="json"), "depends_on": depends_on}
    return sha256_text(canonical_json(identity))[:12]


def versions() -> dict[str, str]:
    """Installed versions of what can change a result."""
    return {package: importlib.metadata.version(package) for package in MATTERS}


def environment() -> dict[str, Any]:
    """The machine that a run was made on; no names of users or folders."""
    others = ("safetensors", "scipy", "pandas", "plotly")
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu_cores": os.cpu_count(),
        "packages": versions() | {name: importlib.metadata.version(name) for name in others},
    }


@dataclass(frozen=True)
class Run(TrainedModel):
    """A finished run.

    Attributes:
        path: its folder.
    """

    path: Path

    @cached_property
    def record(self) -> Record:
        """What run.json says.

        Raises:
            InputError: there is none, it is damaged, or another version wrote it.
        """
        file = self.path / "run.json"
        if not file.is_file():
            raise InputError(f"{self.path} is no run: it has no run.json")
        self.verify(["run.json"])
        try:
            version = _SchemaVersion.model_validate_json(file.read_bytes()).schema_version
            require_schema(version, file)
            return Record.model_validate_json(file.read_bytes())
        except ValidationError as error:
            raise self._damaged(file, validation_summary(error)) from error

    def _damaged(self, file: Path, reason: str) -> CorruptedRunError:
        return CorruptedRunError(
            f"{file} is damaged ({reason}); delete {self.path} and train it again"
        )

    @cached_property
    def digests(self) -> dict[str, str]:
        """SHA-256 of every file that training wrote, by its path in the folder.

        Raises:
            CorruptedRunError: they can't be read.
        """
        file = self.path / "digests.json"
        try:
            return _DIGESTS.validate_json(file.read_bytes())
        except FileNotFoundError:
            return {}  # runs of earlier versions
        except ValidationError as error:
            raise self._damaged(file, validation_summary(error)) from error

    def verify(self, names: Iterable[str]) -> None:
        """Compare files with what was written when the run was trained.

        Args:
            names: paths in the folder; one that training did not write is let be.

        Raises:
            CorruptedRunError: a byte has changed, or the file is gone.
        """
        for name in names:
            known, file = self.digests.get(name), self.path / name
            if known is None or name in self._verified:
                continue
            if not file.is_file():
                raise self._damaged(file, "it is gone")
            if sha256_file(file) != known:
                raise self._damaged(file, "its bytes are not those that were written")
            self._verified.add(name)

    @cached_property
    def _verified(self) -> set[str]:
        return set()

    @property
    def id(self) -> str:
        """The name of its folder, which `run_id` gave."""
        return self.record.id

    @property
    def table_folder(self) -> Path:
        """Folder of probes' tables."""
        return self.path / "probes"

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps at which what was trained is on disk; the last one is the adapter's."""
        saved = {int(folder.name) for folder in self.path.glob("checkpoints/*")}
        return tuple(sorted(saved | {self.record.results["steps"]}))

    def adapter(self, step: int | None = None) -> Path:
        """Folder of what was trained: after the last step, or at a checkpoint.

        Raises:
            CorruptedRunError: its files are not as they were written.
        """
        last = step is None or step == self.record.results["steps"]
        name = "adapter" if last else f"checkpoints/{step}"
        self.verify(file for file in self.digests if file.startswith(f"{name}/"))
        return self.path / name

    def _repr_html_(self) -> str:
        """What was trained and what came out, for a notebook."""
        record = self.record
        rows = {
            "configuration": record.configuration,
            "task": record.config.task,
            "base": record.config.base_model,
            "seed": record.config.seed,
            "status": record.status,
        } | {key: value for key, value in record.results.items() if not isinstance(value, dict)}
        texts = [(key.replace("_", " "), visible(number(value))) for key, value in rows.items()]
        cells = "".join(f"<tr><th>{key}</th><td>{escape(text)}</td></tr>" for key, text in texts)
        return f"<table>{cells}</table>"

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        return self._lines("metrics.jsonl")

    def timing(self) -> list[dict[str, Any]]:
        """The lines of timing.jsonl."""
        return self._lines("timing.jsonl")

    def _lines(self, name: str) -> list[dict[str, Any]]:
        self.verify([name])
        return [json.loads(line) for line in (self.path / name).read_text().splitlines()]


def runs_in(folder: Path) -> list[Run]:
    """Every run below a folder of runs, in the order of their ids."""
    found = sorted(folder.glob("*/run.json"))
    return [Run(file.parent) for file in found if not file.parent.name.startswith(TEMPORARY_PREFIX)]


def configurations(runs: Iterable[Any]) -> dict[str, str]:
    """Name of each run's configuration by run id: equal exactly where all but the seed is equal.

    Where two would have the same name, the values in which they differ are added.

    Args:
        runs: records, or plans of runs to come.
    """
    return _labels([*runs], {"seed"})


def sweeps(runs: Iterable[Any]) -> dict[str, str]:
    """Name of each run's sweep by run id: equal exactly where all but seed and rate is equal.

    A sweep is a configuration at all its learning rates; its name is without them.

    Args:
        runs: records, or plans of runs to come.
    """
    return _labels([*runs], {"seed", "learning_rate"})


def _labels(runs: list[Any], ignored: set[str]) -> dict[str, str]:
    """A name for each group of runs that are equal but for the ignored keys."""
    first: dict[str, str] = {}
    labels = {}
    for run in runs:
        labels[run.id] = first.setdefault(_identity(run, ignored), _words(run, ignored))
    for describe in (partial(_values, ignored=ignored), _hashes):
        _tell_apart(labels, runs, describe)
    return labels


def _identity(run: Any, ignored: set[str]) -> str:
    """Equal for runs of one group; runs of other programs have nothing but their names."""
    name = run.configuration if run.config.task == UNKNOWN_TASK else None
    return canonical_json([name, _values(run, ignored), run.depends_on])


def _words(run: Any, ignored: set[str]) -> str:
    rate = f" learning_rate={run.config.training.learning_rate}"
    return run.configuration.removesuffix(rate if "learning_rate" in ignored else "")


def _tell_apart(
    labels: dict[str, str], runs: list[Any], describe: Callable[[Any], dict[str, str]]
) -> None:
    """Add to equal names the values that differ between their runs, such as `max_steps=100`."""
    groups: dict[str, list[Any]] = defaultdict(list)
    for run in runs:
        groups[labels[run.id]].append(run)
    for members in groups.values():
        described = [describe(run) for run in members]
        keys = dict.fromkeys(key for own in described for key in own)
        varying = [key for key in keys if len({own.get(key) for own in described}) > 1]
        for run, own in zip(members, described, strict=True):
            texts = [f"{key}={' '.join(own[key].split())}" for key in varying if key in own]
            labels[run.id] = " ".join([labels[run.id], *texts])


def _values(run: Any, ignored: set[str]) -> dict[str, str]:
    return {key: value for key, value in flat(run).items() if key not in ignored}


def _hashes(run: Any) -> dict[str, str]:
    return {key: sha256_text(canonical_json(value))[:8] for key, value in run.depends_on.items()}


def hyperparameters(config: RunConfig) -> dict[str, Any]:
    """Every value of a configuration but the seed, nested keys by their last part."""
    values = config.model_dump(mode="json", exclude={"seed"})
    nested = [values.pop(name) for name in ("method_config", "task_config", "training")]
    return values | nested[0] | nested[1] | nested[2]


def flat(run: Any) -> dict[str, str]:
    """The same as text."""
    return {key: text(value) for key, value in hyperparameters(run.config).items()}


def text(value: Any) -> str:
    """A value of a configuration; equal for tables whose keys are in another order."""
    return canonical_json(value) if isinstance(value, dict) else str(value)
