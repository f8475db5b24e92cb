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
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from peftlens.errors import InputError, validation_summary
from peftlens.io.escaping import visible
from peftlens.io.files import TEMPORARY_PREFIX, canonical_json, sha256_file, sha256_text
from peftlens.numerics.rounding import number
from peftlens.runs.config import RunConfig
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
    """Name of each run's configuration by run id: equal only where all but the seed is equal.

    Where two read the same in words, what they differ in is added.

    Args:
        runs: records, or plans of runs to come.
    """
    groups: dict[str, list[Any]] = defaultdict(list)
    for run in runs:
        groups[run.configuration].append(run)
    return {
        run.id: " ".join([words, *_differing(run, members)])
        for words, members in groups.items()
        for run in members
    }


def without_rate(configuration: str) -> str:
    """A configuration's name but for its learning rate: what a sweep of rates has in common."""
    return re.sub(r" learning_rate=\S+", "", configuration)


def _differing(run: Any, members: list[Any]) -> list[str]:
    """Such as `steps=100`: the run's values where members of its group have others."""
    for describe in (flat, lambda one: {key: _hash(v) for key, v in one.depends_on.items()}):
        own, all_of_them = describe(run), [describe(member) for member in members]
        keys = [key for key in own if any(other.get(key) != own[key] for other in all_of_them)]
        if keys:
            return [f"{key}={' '.join(own[key].split())}" for key in keys]
    return []


def flat(run: Any) -> dict[str, str]:
    """The configuration without the seed, nested keys by their last part."""
    config = run.config.model_dump(mode="json", exclude={"seed"})
    nested = {key: value for key, value in config.items() if isinstance(value, dict)}
    flat = {key: value for key, value in config.items() if key not in nested}
    for values in nested.values():
        flat |= values
    return {key: str(value) for key, value in flat.items()}


def _hash(value: Any) -> str:
    return sha256_text(canonical_json(value))[:8]
