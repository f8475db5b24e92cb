"""A study as it lies on disk, for those who read it: no lock is taken, and nothing is changed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from peftlens.errors import InputError
from peftlens.io import escaping
from peftlens.io.files import canonical_json, sha256_text
from peftlens.results import failures, invocations, table
from peftlens.results.stack import joined
from peftlens.results.table import Table
from peftlens.runs import store
from peftlens.runs.run import Run, configurations, require_schema, runs_in
from peftlens.runs.trained_model import TrainedModel


def read_index(study: Path) -> dict[str, Any]:
    """What study.json says of a study: `runs`, their ids, and by id `configurations` and `names`.

    Raises:
        InputError: there is none, or another version wrote it.
    """
    found = index_or_none(study)
    if "names" not in found:
        raise InputError(f"{study} holds no study that can be read; run `peftlens study` first")
    return found


def index_or_none(study: Path) -> dict[str, Any]:
    """The same, and empty where it is missing or damaged: it is made anew of the study's file.

    Raises:
        InputError: another version wrote it.
    """
    file = study / "study.json"
    try:
        found = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    require_schema(found.get("schema_version", 1), file)
    return found


@dataclass(frozen=True)
class StudyResults:
    """What a study has given so far.

    Attributes:
        folder: where it lies.
        index: what study.json says.
        runs: those that are finished and whole, in the study's order.
        damaged: what is wrong with each of the others that are there, by run id.
        failed: what failed, as `failures.details` tells it.
        tables: by probe.
        unreadable: what is wrong with each other table, by probe.
        text: the study's file.
        calls: how it was carried out, as `invocations.record` wrote it.
    """

    folder: Path
    index: dict[str, Any]
    runs: tuple[TrainedModel, ...]
    damaged: dict[str, str]
    failed: dict[str, dict[str, str]]
    tables: dict[str, Table]
    unreadable: dict[str, str]
    text: str
    calls: list[dict[str, Any]]

    @property
    def name(self) -> str:
        """What the study's file calls it."""
        return self.index["name"]

    @property
    def configurations(self) -> dict[str, str]:
        """Name of each run's configuration by run id."""
        return self.index["configurations"]

    @property
    def missing(self) -> list[str]:
        """Runs that have not been trained, and have not failed either, by name."""
        known = {run.path.name for run in self.runs} | self.damaged.keys() | self.failed.keys()
        return [self.index["names"][run] for run in self.index["runs"] if run not in known]

    @property
    def unmeasured(self) -> list[str]:
        """Probes that the study asks for and that have no table."""
        known = self.tables.keys() | self.unreadable.keys() | self.failed.keys()
        return [probe for probe in self.index.get("probes", ()) if probe not in known]

    @cached_property
    def sha256(self) -> str:
        """Of all tables: of their rows, whatever file format they are kept in."""
        rows = {name: escaping.to_csv(one.frame) for name, one in sorted(self.tables.items())}
        return sha256_text(canonical_json(rows))


def of_runs(
    folder: Path,
    name: str,
    runs: Sequence[TrainedModel],
    names: dict[str, str],
    tables: Sequence[Table],
) -> StudyResults:
    """Runs that no study holds together, with what was measured of them.

    Args:
        folder: where they lie.
        name: what they are called together.
        runs: finished runs, or adapters.
        names: of each, by run id.
        tables: of probes over these runs.
    """
    index = {"name": name, "runs": [], "names": names, "configurations": names}
    return StudyResults(
        folder=folder,
        index=index,
        runs=tuple(runs),
        damaged={},
        failed={},
        tables={one.name: one for one in tables},
        unreadable={},
        text="",
        calls=[],
    )


def _loose(folder: Path, runs: Sequence[Run]) -> StudyResults:
    reasons = {run.path.name: store.damage(run) for run in runs}
    whole = [run for run in runs if not reasons[run.path.name]]
    labels = configurations(run.record for run in whole)
    names = {run.id: f"{labels[run.id]} seed={run.config.seed}" for run in whole}
    probes = {file.stem for run in whole for file in (run.path / "probes").glob("*.parquet")}
    tables = [joined(whole, probe, labels) for probe in sorted(probes)]
    found = of_runs(folder, folder.resolve().name, whole, labels, tables)
    damaged = {run: reason for run, reason in reasons.items() if reason}
    return replace(found, damaged=damaged, index=found.index | {"names": names | damaged})


def read(study: str | Path) -> StudyResults:
    """Read a study's folder, or a run's, or a folder of runs with what was measured of each.

    Raises:
        InputError: there is neither, or a later version wrote it.
    """
    folder = Path(study)
    if not (folder / "study.json").exists():
        runs = [Run(folder)] if (folder / "run.json").is_file() else runs_in(folder)
        if not runs:
            raise InputError(
                f"{study} holds no finished run and no study; `peftlens train` or `peftlens study` "
                "makes one"
            )
        return _loose(folder, runs)
    index = read_index(folder)
    whole, damaged = store.finished(folder / "runs", index["runs"])
    tables, unreadable = {}, {}
    for file in sorted((folder / "tables").glob("*.parquet")):
        try:
            tables[file.stem] = table.read(file)
        except InputError as error:
            unreadable[file.stem] = str(error)
    text = folder / "study.toml"
    return StudyResults(
        folder=folder,
        index=index,
        runs=tuple(Run(folder / "runs" / run) for run in index["runs"] if run in whole),
        damaged=damaged,
        failed=failures.details(folder),
        tables=tables,
        unreadable=unreadable,
        text=text.read_text() if text.is_file() else "",
        calls=invocations.recorded(folder),
    )
