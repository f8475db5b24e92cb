"""Index of a study, study.json: its runs and probes, with a digest of its own contents.

The index holds no result: the study's command writes it again from the study file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from peftlens.errors import InputError, validation_summary
from peftlens.io.files import canonical_json, sha256_text, write_json
from peftlens.io.progress import say
from peftlens.runs import store
from peftlens.runs.run import SCHEMA, Run, require_schema, runs_in

INDEX, TEXT = "study.json", "study.toml"


class _SchemaVersion(BaseModel):
    """Field that is common to all versions; without it the file is of the first one."""

    schema_version: int = 1


class _Index(BaseModel):
    """Contents of study.json.

    Attributes:
        name: title of the study.
        runs: ids of the runs, in order.
        names: configurations and seeds of the runs, by id.
        configurations: names of the runs' configurations, by id.
        probes: names of the probes.
        dtypes: meaning of dtype="auto", by device.
        compiled: whether each run is trained with compiled blocks, by id.
        text_sha256: SHA-256 of study.toml; None in files of versions that did not record it.
        sha256: SHA-256 of all other entries; likewise.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    runs: list[str]
    names: dict[str, str]
    configurations: dict[str, str]
    probes: list[str] = Field(default_factory=list)
    dtypes: dict[str, str] = Field(default_factory=dict)
    compiled: dict[str, bool] = Field(default_factory=dict)
    text_sha256: str | None = None
    sha256: str | None = None

    @model_validator(mode="after")
    def _check_names(self) -> "_Index":
        for run in self.runs:
            if run not in self.names:
                raise ValueError(f"run {run} has no name")
        return self


def write_index(study: Path, entries: Mapping[str, Any]) -> None:
    """Write study.json with the schema version and a digest of its entries."""
    index = {"schema_version": SCHEMA, **entries}
    write_json(study / INDEX, index | {"sha256": _digest(index)})


def read_index(study: Path) -> dict[str, Any]:
    """Read study.json: the ids `runs`, and by id their `configurations` and `names`.

    Raises:
        InputError: the file is missing, damaged or was changed, or another version wrote it.
    """
    file = study / INDEX
    if not file.exists():
        raise InputError(f"{study} holds no study that can be read; run `peftlens study` first")
    if not file.is_file():
        raise _damaged(file, "it is not a file")
    try:
        require_schema(_SchemaVersion.model_validate_json(file.read_bytes()).schema_version, file)
        index = _Index.model_validate_json(file.read_bytes()).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise _damaged(file, validation_summary(error)) from error
    recorded = index.pop("sha256", None)
    if recorded not in (None, _digest(index)):
        raise _damaged(file, "its contents have changed since it was written")
    return (
        {"probes": [], "dtypes": {}}
        | index
        | {
            "configurations": {run: index["names"][run] for run in index["runs"]}
            | index["configurations"]
        }
    )


def index_or_none(study: Path) -> dict[str, Any]:
    """Read study.json; return an empty index if the file is missing or damaged.

    Raises:
        InputError: another version wrote the file.
    """
    try:
        return read_index(study)
    except DamagedIndexError:
        return {}
    except InputError:
        if (study / INDEX).is_file():
            raise
        return {}


def recorded_dtypes(study: Path) -> dict[str, str]:
    """Return the meaning of dtype="auto" by device in earlier calls of a study.

    If study.json is damaged, the finished runs tell it. Measuring it again on a busy machine could
    change the runs of the study.
    """
    index = index_or_none(study)
    if index or not (study / INDEX).exists():
        return index.get("dtypes", {})
    say(f"{study / INDEX} is damaged or was changed; it is written again")
    return {run.config.device: run.config.dtype for run in _finished(study)}


def recorded_compilation(study: Path) -> dict[str, bool]:
    """Return whether runs of earlier calls of a study were to be compiled, by id.

    If study.json is damaged, the finished runs tell it.
    """
    index = index_or_none(study)
    if index or not (study / INDEX).exists():
        return index.get("compiled", {})
    return {run.id: run.record.environment.get("compiled", False) for run in _finished(study)}


def _finished(study: Path) -> list[Run]:
    return [run for run in runs_in(study / "runs") if not store.damage(run)]


class DamagedIndexError(InputError):
    """Error of a study.json that can't be read, or that was changed."""


def _damaged(file: Path, reason: str) -> DamagedIndexError:
    return DamagedIndexError(
        f"{file} is damaged ({reason}); run the study's command, which writes it again"
    )


def _digest(index: Mapping[str, Any]) -> str:
    return sha256_text(canonical_json(index))


def read_study_file(study: Path, index: Mapping[str, Any]) -> tuple[str, str | None]:
    """Read study.toml, and compare it with the digest in the index.

    Returns:
        Its text, empty if there is none; and the reason if it is not the text of the last call.
    """
    file = study / TEXT
    expected = index.get("text_sha256")
    if not file.is_file():
        missing = f"{file} is missing; run the study's command, which writes it again"
        return "", missing if expected else None
    text = file.read_bytes().decode(errors="replace")
    if expected in (None, sha256_text(text)):
        return text, None
    return text, (
        f"{file} has changed since the study's last call, so it does not describe these runs; run "
        "the study's command, which writes it again"
    )
