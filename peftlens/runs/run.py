"""Folder of a finished run, written by training and read by all other packages.

<run_id>/run.json             configuration, dependencies and results
         adapter/             adapter_config.json and adapter_model.safetensors
         checkpoints/<step>/  the same files at earlier steps
         metrics.jsonl        values determined by the seed: losses and scores
         timing.jsonl         values determined by the machine: seconds, tokens per second, memory
         digests.json         the run's id, and the SHA-256 of all these files, by path
         probes/<probe>.parquet
"""

import importlib.metadata
import json
import os
import platform
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from html import escape
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from peftlens.errors import InputError, validation_summary
from peftlens.io.escaping import visible
from peftlens.io.files import (
    TEMPORARY_PREFIX,
    canonical_json,
    nearest_file,
    sha256_file,
    sha256_text,
)
from peftlens.numerics.rounding import number
from peftlens.runs import digests
from peftlens.runs.config import RunConfig
from peftlens.runs.digests import DIGESTS, Digests
from peftlens.runs.trained_model import TrainedModel

SCHEMA = 2  # 1: before 0.1.0, with the old names of `errors.RENAMED_KEYS`
# Packages whose versions can change a result; another version gives another run id.
MATTERS = ("peftlens", "torch", "transformers", "peft", "tokenizers", "accelerate", "numpy")

TIMING = "timing.jsonl"  # the only file of a training that the seed does not determine
_ID = re.compile(r"[0-9a-f]{12}")


class Record(BaseModel):
    """Contents of run.json.

    Attributes:
        schema_version: version of the layout.
        id: id of the run; see `run_id`.
        configuration: name of the configuration: method and hyperparameters without the seed.
        config: configuration with all defaults filled in.
        depends_on: hashes of base model and data, and versions of the packages in `MATTERS`.
        environment: machine and versions of all packages, for readers; not part of the id.
        status: finished, or diverged if training stopped at a loss that was not finite.
        results: counts and final scores.
        files: SHA-256 of the files that the seed determines, by path, which are compared where
            digests.json is missing; empty in runs of versions that did not record them.
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
    files: dict[str, str] = Field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write run.json."""
        text = json.dumps(self.model_dump(mode="json"), indent=2, allow_nan=False)
        (folder / "run.json").write_text(text + "\n", encoding="utf-8")


class _SchemaVersion(BaseModel):
    """Field of run.json that is common to all versions."""

    schema_version: int


def require_schema(version: int, file: Path) -> None:
    """Check that a file has the present schema version.

    Raises:
        InputError: the version differs; the message names the remedy.
    """
    if version > SCHEMA:
        raise InputError(f"{file} was written by a later version; upgrade peftlens to read it")
    if version < SCHEMA:
        raise InputError(
            f"{file} was written before peftlens 0.1.0 with other keys (base is called base_model "
            "now, steps max_steps, after continue_from); run it again in a new folder"
        )


class CorruptedRunError(InputError):
    """Error of a run whose files have changed since training."""


def is_id(name: str) -> bool:
    """Return whether a name has the form of a run's id."""
    return _ID.fullmatch(name) is not None


def run_id(config: RunConfig, depends_on: dict[str, Any]) -> str:
    """Return the first 12 hex digits of the SHA-256 of all inputs that determine the result."""
    identity = {"config": config.model_dump(mode="json"), "depends_on": depends_on}
    return sha256_text(canonical_json(identity))[:12]


def versions() -> dict[str, str]:
    """Return the installed versions of packages that can change a result."""
    return {package: _version(package) for package in MATTERS}


_version = cache(importlib.metadata.version)  # reading the metadata takes milliseconds per run


def environment() -> dict[str, Any]:
    """Describe this machine, without names of users or folders."""
    others = ("safetensors", "scipy", "pandas", "plotly")
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu_cores": os.cpu_count(),
        "packages": versions() | {name: _version(name) for name in others},
    }


@dataclass(frozen=True)
class Run(TrainedModel):
    """Finished run.

    Attributes:
        path: folder of the run.
    """

    path: Path

    @cached_property
    def record(self) -> Record:
        """Contents of run.json.

        Raises:
            InputError: the file is missing or damaged, is another run's, or another version wrote
                it.
        """
        file = self.path / "run.json"
        if not file.is_file():
            remedy = "" if self.path.exists() else nearest_file(self.path)
            raise InputError(
                f"{self.path} is not a run: it has no run.json" + (f"; {remedy}" if remedy else "")
            )
        if self.sealed:
            self.verify(["run.json"])
        try:
            version = _SchemaVersion.model_validate_json(file.read_bytes()).schema_version
            require_schema(version, file)
            record = Record.model_validate_json(file.read_bytes())
        except ValidationError as error:
            raise self._damaged(file, validation_summary(error)) from error
        self._require_own(file, record.id)
        return record

    def _require_own(self, file: Path, run: str | None) -> None:
        """Check that a file belongs to the run after which the folder is named.

        A folder with any other name than an id was renamed or copied on purpose.

        Raises:
            CorruptedRunError: the file is another run's.
        """
        name = self.path.absolute().name
        if run is not None and run != name and is_id(name):
            raise self._damaged(file, f"it is that of run {run}")

    def _damaged(self, file: Path, reason: str) -> CorruptedRunError:
        return CorruptedRunError(
            f"{file} is damaged ({reason}); delete {self.path} and train it again"
        )

    @cached_property
    def sealed(self) -> Digests | None:
        """Contents of digests.json; None if there is no such file.

        Raises:
            CorruptedRunError: the file is damaged or another run's.
        """
        file = self.path / DIGESTS
        if not file.exists():
            return None
        if not file.is_file():
            raise self._damaged(file, "it is not a file")
        try:
            contents = digests.read(file)
        except ValidationError as error:
            raise self._damaged(file, validation_summary(error)) from error
        self._require_own(file, contents.run)
        return contents

    @cached_property
    def digests(self) -> dict[str, str]:
        """SHA-256 of all files written by training, by path in the folder.

        Without digests.json, those of the files that run.json lists.

        Raises:
            CorruptedRunError: digests.json can't be read.
        """
        return self.sealed.files if self.sealed else self.record.files

    def verify(self, names: Iterable[str]) -> None:
        """Compare files with the digests from training.

        Args:
            names: paths in the folder; paths without a digest are skipped.

        Raises:
            CorruptedRunError: a file has changed or is missing.
        """
        for name in names:
            digest, file = self.digests.get(name), self.path / name
            if digest is None or name in self._verified:
                continue
            if not file.is_file():
                raise self._damaged(file, "it is missing")
            if sha256_file(file) != digest:
                raise self._damaged(file, "its contents have changed")
            self._verified.add(name)

    @cached_property
    def _verified(self) -> set[str]:
        return set()

    @property
    def id(self) -> str:
        """Id of the run, from `run_id`; also the name of its folder."""
        return self.record.id

    @property
    def table_folder(self) -> Path:
        """Folder of probes' tables."""
        return self.path / "probes"

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps with saved weights; the last step has the final adapter."""
        saved = {int(name) for name in self._checkpoints() if self._trained(f"checkpoints/{name}")}
        return tuple(sorted(saved | {self.record.results["steps"]}))

    def _checkpoints(self) -> Iterator[str]:
        """Yield the names of folders of checkpoints, which are numbers of steps."""
        for folder in self.path.glob("checkpoints/*"):
            if folder.name.isdecimal() and folder.name.isascii() and folder.is_dir():
                yield folder.name

    def _trained(self, folder: str) -> bool:
        """Return whether training wrote a folder, as far as it left digests."""
        return not self.digests or any(path.startswith(f"{folder}/") for path in self.digests)

    def adapter(self, step: int | None = None) -> Path:
        """Return the folder of the adapter after the last step, or at a checkpoint.

        Raises:
            CorruptedRunError: the adapter's files have changed.
        """
        last = step is None or step == self.record.results["steps"]
        name = "adapter" if last else f"checkpoints/{step}"
        self.verify(file for file in self.digests if file.startswith(f"{name}/"))
        return self.path / name

    def _repr_html_(self) -> str:
        """Render configuration and results for a notebook."""
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
        """Read the rows of metrics.jsonl."""
        return self._lines("metrics.jsonl")

    def timing(self) -> list[dict[str, Any]]:
        """Read the rows of timing.jsonl."""
        return self._lines(TIMING)

    def _lines(self, name: str) -> list[dict[str, Any]]:
        self.verify([name])
        file = self.path / name
        try:
            return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        except (FileNotFoundError, ValueError) as error:
            raise self._damaged(file, str(error)) from error


def runs_in(folder: Path) -> list[Run]:
    """List the runs in a folder of runs, sorted by id."""
    files = sorted(folder.glob("*/run.json"))
    return [Run(file.parent) for file in files if not file.parent.name.startswith(TEMPORARY_PREFIX)]
