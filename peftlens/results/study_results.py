"""Results of a study, read from its folder without locks or changes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from peftlens.errors import InputError
from peftlens.io import escaping
from peftlens.io.files import TEMPORARY_PREFIX, canonical_json, nearest_file, sha256_text
from peftlens.numerics.counts import counted
from peftlens.results import failures, invocations, table
from peftlens.results.configurations import CONFIGURATIONS, configurations_table
from peftlens.results.sequential import study_folder
from peftlens.results.stack import joined
from peftlens.results.study_index import INDEX, read_index, read_study_file
from peftlens.results.table import Table
from peftlens.runs import store
from peftlens.runs.configuration_names import configurations
from peftlens.runs.lock import BARE_LOCK_PREFIX, LOCK_PREFIX
from peftlens.runs.paused import PAUSED_PREFIX
from peftlens.runs.run import Run, runs_in
from peftlens.runs.trained_model import TrainedModel


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
        outdated: reasons why tables do not describe exactly the present runs, by probe.
        unchecked: reasons of runs whose files can't be compared with digests, by run id.
        changed: reasons of changed or damaged files that decide no result.
        ignored: remarks on entries that peftlens did not write.
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
    outdated: dict[str, str] = field(default_factory=dict)
    unchecked: dict[str, str] = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def warnings(self) -> list[str]:
        """Everything about the files that a reader of the results must know, a line each."""
        left_out = [*self.damaged.values(), *self.unreadable.values()]
        others = (*self.outdated.values(), *self.unchecked.values())
        return [
            *(f"Left out: {reason}" for reason in left_out),
            *(f"There is no table {probe}; run the study's command" for probe in self.unmeasured),
            *others,
            *self.changed,
            *self.ignored,
        ]

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
        """Names of the study's tables that are neither there nor failed; none before a run is."""
        present = self.tables.keys() | self.unreadable.keys() | self.failed.keys()
        expected = [*self.index.get("probes", ()), *([CONFIGURATIONS] if self.runs else ())]
        if not self.index["runs"]:
            return []
        return [name for name in expected if name not in present]

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
    reasons |= _copies([run for run in runs if not reasons[run.path.name]])
    whole = [run for run in runs if not reasons[run.path.name]]
    labels = configurations(run.record for run in whole)
    names = {run.id: f"{labels[run.id]} seed={run.config.seed}" for run in whole}
    tables, unreadable = [configurations_table(whole, labels)] if whole else [], {}
    for probe in sorted({file.stem for run in whole for file in table_files(run.table_folder)}):
        one, unread = joined(whole, probe, labels)
        tables += [one] if one else []
        if unread:
            unreadable[probe] = "; ".join(unread.values())
    results = of_runs(folder, folder.resolve().name, whole, labels, tables)
    damaged = {run: reason for run, reason in reasons.items() if reason}
    return replace(
        results,
        damaged=damaged,
        unreadable=unreadable,
        unchecked=_unchecked(whole),
        ignored=tuple(_ignored(whole)),
        index=results.index | {"names": names | damaged},
    )


def _copies(runs: Sequence[Run]) -> dict[str, str]:
    """Return the reasons of further folders of one run, by name; that named by the id is kept."""
    first: dict[str, Path] = {}
    for run in sorted(runs, key=lambda run: run.path.name != run.id):
        first.setdefault(run.id, run.path)
    return {
        run.path.name: f"{run.path} is a copy of run {first[run.id]}; move one of them away"
        for run in runs
        if first[run.id] != run.path
    }


def table_files(folder: Path) -> list[Path]:
    """List the files of tables; hidden files are of other programs."""
    return sorted(file for file in folder.glob("*.parquet") if not file.name.startswith("."))


def _unchecked(runs: Sequence[Run]) -> dict[str, str]:
    reasons = {run.id: store.unchecked(run) for run in runs}
    return {run: reason for run, reason in reasons.items() if reason}


def _ignored(runs: Sequence[Run], *folders: Path) -> Iterator[str]:
    """Describe the entries that are neither of a run nor of a study; readers ignore them."""
    strays = [stray for run in runs for stray in store.strays(run)]
    strays += [entry for folder in folders for entry in _hidden(folder)]
    if strays:
        shown = ", ".join(map(str, strays[:3])) + (" ..." if len(strays) > 3 else "")
        yield f"Ignored, as peftlens did not write it: {shown}"


def _hidden(folder: Path) -> list[Path]:
    """List the hidden entries of a study's folder, without locks, pauses and temporary files."""
    own = (TEMPORARY_PREFIX, LOCK_PREFIX, BARE_LOCK_PREFIX, PAUSED_PREFIX)
    return sorted(entry for entry in folder.glob(".*") if not entry.name.startswith(own))


def read(study: str | Path) -> StudyResults:
    """Read the results of a study, of a run or of a folder of runs.

    Of a study that runs until its claims are decided, these are the results of the confirmation.

    Raises:
        InputError: the folder holds neither a study nor runs, its index is damaged, or a later
            version wrote it.
    """
    folder = study_folder(Path(study))
    if not (folder / INDEX).exists():
        runs = [Run(folder)] if (folder / "run.json").is_file() else runs_in(folder)
        if not runs:
            remedy = "" if folder.exists() else nearest_file(folder)
            raise InputError(
                f"{study} holds no finished run and no study; "
                + (remedy or "`peftlens train` or `peftlens study` makes one")
            )
        return _without_study(folder, runs)
    index = read_index(folder)
    done, damaged = store.finished(folder / "runs", index["runs"])
    whole = [Run(folder / "runs" / run) for run in index["runs"] if run in done]
    tables, unreadable = _tables(folder / "tables", index)
    text, changed = read_study_file(folder, index)
    damaged_calls = map(
        "{} is damaged, and no result depends on it; delete it".format, invocations.damaged(folder)
    )
    ignored = _ignored(whole, *(folder / name for name in ("runs", "tables", "failed", "calls")))
    return StudyResults(
        folder=folder,
        index=index,
        runs=tuple(whole),
        damaged=damaged,
        failed=failures.details(folder),
        tables=tables,
        unreadable=unreadable,
        text=text,
        calls=invocations.recorded(folder),
        outdated=_outdated(tables, index, [run.path.name for run in whole]),
        unchecked=_unchecked(whole),
        changed=(*([changed] if changed else []), *damaged_calls),
        ignored=tuple(ignored),
    )


def _tables(folder: Path, index: Mapping[str, Any]) -> tuple[dict[str, Table], dict[str, str]]:
    """Read the tables of a study's own runs, and the reasons of the others, by probe."""
    tables: dict[str, Table] = {}
    unreadable: dict[str, str] = {}
    for file in table_files(folder):
        try:
            one = table.read(file)
            if one.name != file.stem:
                raise InputError(f"{file} is a table of the probe {one.name}; delete it")
            if "status" in one.frame and "run" not in one.frame:
                raise InputError(f"{file} is the table of a single run; delete it")
            if not index["names"].keys() >= set(one.run_ids or ()):
                raise InputError(f"{file} is a table of another study's runs; delete it")
            tables[file.stem] = one
        except InputError as error:
            unreadable[file.stem] = str(error)
    return tables, unreadable


def _outdated(
    tables: Mapping[str, Table], index: Mapping[str, Any], present: list[str]
) -> dict[str, str]:
    """Find tables of other runs than the present ones, or with other names of configurations."""
    reasons = {}
    for name, one in tables.items() if index["runs"] else ():
        if not one.is_of({run: index["configurations"][run] for run in present}):
            made_of = counted(len(one.run_ids or ()), "run")
            reasons[name] = (
                f"Outdated: the table {name} was made of {made_of}, and {len(present)} are "
                "finished and undamaged now; run the study's command again"
            )
        elif {"run", "configuration"} <= set(one.frame):
            pairs = zip(one.frame["run"], one.frame["configuration"], strict=True)
            if any(index["configurations"][run] != label for run, label in set(pairs)):
                reasons[name] = (
                    f"Outdated: the table {name} names configurations otherwise than {INDEX}; run "
                    "the study's command again"
                )
    return reasons
