"""Results of a study, read from its folder without locks or changes."""

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
from peftlens.results.configurations import configurations_table
from peftlens.results.stack import joined
from peftlens.results.table import Table
from peftlens.runs import store
from peftlens.runs.run import Run, configurations, require_schema, runs_in
from peftlens.runs.trained_model import TrainedModel


def read_index(study: Path) -> dict[str, Any]:
    """Read study.json: the ids `runs`, and by id their `configurations` and `names`.

    Raises:
        InputError: the file is missing or damaged, or another version wrote it.
    """
    index = index_or_none(study)
    if "names" not in index:
        raise InputError(f"{study} holds no study that can be read; run `peftlens study` first")
    return index


def index_or_none(study: Path) -> dict[str, Any]:
    """Read study.json; return an empty index if the file is missing or damaged.

    Raises:
        InputError: another version wrote the file.
    """
    file = study / "study.json"
    try:
        index = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    require_schema(index.get("schema_version", 1), file)
    return index


@dataclass(frozen=True)
class StudyResults:
    """Present results of a study.

    Attributes:
        folder: folder of the study.
        index: contents of study.json.
        runs: finished, undamaged runs, in the study's order.
        damaged: reasons of damage to the other finished runs, by run id.
        failed: records of failures, by run id or probe; see `failures.details`.
        tables: readable tables, by probe.
        unreadable: errors of the unreadable tables, by probe.
        text: text of the study's file.
        calls: records of the study's calls; see `invocations.record`.
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
        """Title of the study."""
        return self.index["name"]

    @property
    def configurations(self) -> dict[str, str]:
        """Names of the runs' configurations, by run id."""
        return self.index["configurations"]

    @property
    def missing(self) -> list[str]:
        """Names of the runs that are neither trained nor failed."""
        present = {run.path.name for run in self.runs} | self.damaged.keys() | self.failed.keys()
        return [self.index["names"][run] for run in self.index["runs"] if run not in present]

    @property
    def unmeasured(self) -> list[str]:
        """Names of the study's probes that have neither a table nor a failure."""
        present = self.tables.keys() | self.unreadable.keys() | self.failed.keys()
        return [probe for probe in self.index.get("probes", ()) if probe not in present]

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the rows of all tables, independent of their file format."""
        rows = {name: escaping.to_csv(one.frame) for name, one in sorted(self.tables.items())}
        return sha256_text(canonical_json(rows))


def of_runs(
    folder: Path,
    name: str,
    runs: Sequence[TrainedModel],
    names: dict[str, str],
    tables: Sequence[Table],
) -> StudyResults:
    """Combine runs outside of a study with the tables measured on them.

    Args:
        folder: folder of the runs.
        name: title of the combination.
        runs: finished runs or adapters.
        names: names of the runs, by run id.
        tables: tables of probes over these runs.
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


def _without_study(folder: Path, runs: Sequence[Run]) -> StudyResults:
    reasons = {run.path.name: store.damage(run) for run in runs}
    whole = [run for run in runs if not reasons[run.path.name]]
    labels = configurations(run.record for run in whole)
    names = {run.id: f"{labels[run.id]} seed={run.config.seed}" for run in whole}
    probes = {file.stem for run in whole for file in (run.path / "probes").glob("*.parquet")}
    tables = [configurations_table(whole, labels)] if whole else []
    tables += [joined(whole, probe, labels) for probe in sorted(probes)]
    results = of_runs(folder, folder.resolve().name, whole, labels, tables)
    damaged = {run: reason for run, reason in reasons.items() if reason}
    return replace(results, damaged=damaged, index=results.index | {"names": names | damaged})


def read(study: str | Path) -> StudyResults:
    """Read the results of a study, of a run or of a folder of runs.

    Raises:
        InputError: the folder holds neither a study nor runs, or a later version wrote it.
    """
    folder = Path(study)
    if not (folder / "study.json").exists():
        runs = [Run(folder)] if (folder / "run.json").is_file() else runs_in(folder)
        if not runs:
            raise InputError(
                f"{study} holds no finished run and no study; `peftlens train` or `peftlens study` "
                "makes one"
            )
        return _without_study(folder, runs)
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
