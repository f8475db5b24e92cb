"""Verification of a study: every file is compared with its digest, its run and its study."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from peftlens import registry
from peftlens.errors import InputError
from peftlens.evaluation import probe_runner
from peftlens.io.progress import track
from peftlens.numerics.counts import counted
from peftlens.results import failures, study_results, table
from peftlens.results.configurations import CONFIGURATIONS, configurations_table
from peftlens.results.sequential import study_folder
from peftlens.results.stack import joined
from peftlens.results.study_index import INDEX, DamagedIndexError, read_index
from peftlens.results.study_results import StudyResults
from peftlens.results.table import Table
from peftlens.runs import store
from peftlens.runs.run import Run, runs_in


@dataclass(frozen=True)
class Verification:
    """Result of a verification.

    Attributes:
        folder: folder of the study or of the runs.
        runs: number of run folders that were compared.
        tables: number of tables that were compared, those of single runs included.
        problems: files that are damaged, have changed, are missing or belong elsewhere.
        notes: what could not be compared, and entries that are ignored.
    """

    folder: Path
    runs: int
    tables: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def verify(folder: str | Path) -> Verification:
    """Compare every file of a study, a folder of runs or a run, weights included.

    Of a study that runs until its claims are decided, these are the files of the confirmation.

    Nothing is changed. Takes as long as reading all weights.

    Raises:
        InputError: the folder holds neither a study nor runs, or a later version wrote it.
    """
    folder = study_folder(Path(folder))
    runs = _run_folders(folder)
    problems = [problem for run in track(runs, "Verifying") for problem in _problems_of_run(run)]
    n_tables = sum(len(study_results.table_files(run.table_folder)) for run in runs)
    notes: list[str] = []
    try:
        results = study_results.read(folder)
    except DamagedIndexError as error:
        problems.append(str(error))
    else:
        problems += _problems_of_study(results)
        notes += [*results.unchecked.values(), *results.ignored, *_missing(results, runs)]
        if (folder / INDEX).exists():
            n_tables += len(study_results.table_files(folder / "tables"))
    return Verification(
        folder=folder,
        runs=len(runs),
        tables=n_tables,
        problems=tuple(dict.fromkeys(problems)),
        notes=tuple(dict.fromkeys(notes)),
    )


def _run_folders(folder: Path) -> list[Run]:
    """List the folders of runs, those that hold no readable run included."""
    if (folder / "run.json").is_file():
        return [Run(folder)]
    if not (folder / INDEX).exists():
        return runs_in(folder)
    try:
        listed = [Run(folder / "runs" / run) for run in read_index(folder)["runs"]]
    except DamagedIndexError:
        listed = []
    present = [run for run in listed if run.path.exists()]
    return list(dict.fromkeys([*present, *runs_in(folder / "runs")]))


def _problems_of_run(run: Run) -> Iterator[str]:
    if reason := store.damage(run, weights=True):
        yield reason
        return
    if run.sealed is None and run.record.files:
        yield f"{store.unchecked(run)}; it had one: delete {run.path} and train it again"
    for file in study_results.table_files(run.table_folder):
        try:
            table.read_of(file, file.stem, [run.id])
        except InputError as error:
            yield f"{error}; it is measured again when it is needed"


def _problems_of_study(results: StudyResults) -> Iterator[str]:
    yield from results.damaged.values()
    yield from results.unreadable.values()
    yield from results.outdated.values()
    yield from results.changed
    yield from (
        failure["summary"] for failure in results.failed.values() if failures.is_damaged(failure)
    )
    for name, one in results.tables.items() if results.index["runs"] else ():
        if name in results.outdated:
            continue
        expected = _expected(one, results)
        if expected is not None and not _equal(one.frame, expected):
            yield (
                f"the rows of the table {name} differ from what was measured on the runs; delete "
                f"{results.folder / 'tables' / name}.parquet and run the study's command again"
            )


def _expected(one: Table, results: StudyResults) -> pd.DataFrame | None:
    """Make the rows of a table again from the tables of the runs; None where these can't tell."""
    runs = [run for run in results.runs if isinstance(run, Run)]
    if one.name == CONFIGURATIONS:
        return configurations_table(runs, results.configurations).frame
    if table.failures(one.frame):
        return None
    if {"run", "status"} <= set(one.frame):
        joined_table, _ = joined(runs, one.name, results.configurations)
        if joined_table is None or joined_table.runs != tuple(run.id for run in runs):
            return None
        same = (joined_table.version, joined_table.config) == (one.version, one.config)
        return joined_table.frame if same else None
    return _combined(one, results)


def _combined(one: Table, results: StudyResults) -> pd.DataFrame | None:
    """Combine the study's tables again, as a probe over other probes' tables does."""
    if one.name not in registry.names("probes"):
        return None  # of a package that is not installed here
    probe = registry.load("probes", one.name)
    sources = getattr(probe, "INPUTS", ())
    known = results.tables.keys() - results.outdated.keys()
    if one.version != probe.VERSION or not sources or not known >= {*sources, CONFIGURATIONS}:
        return None
    frames = {name: results.tables[name].frame for name in (*sources, CONFIGURATIONS)}
    if any(table.failures(frame) for frame in frames.values()):
        return None
    inputs = {name: table.measured(frame) for name, frame in frames.items()}
    more = getattr(probe, "ALSO_READS", ())
    runs = [run for run in results.runs if isinstance(run, Run)]
    also = probe_runner.saved_tables(runs, more, results.configurations)
    inputs |= {name: table.measured(one.frame) for name, one in also.items()}
    config = probe_runner.configure(one.name, one.config)
    return probe.combine(inputs) if config is None else probe.combine(inputs, config)


def _equal(frame: pd.DataFrame, expected: pd.DataFrame) -> bool:
    """Compare two frames; numbers may differ by the rounding of another machine."""
    if list(frame.columns) != list(expected.columns) or len(frame) != len(expected):
        return False
    return all(_equal_column(frame[name], expected[name]) for name in frame)


def _equal_column(column: pd.Series, expected: pd.Series) -> bool:
    if is_numeric_dtype(column) and is_numeric_dtype(expected):
        numbers = (one.to_numpy(float, na_value=np.nan) for one in (column, expected))
        return np.allclose(*numbers, rtol=1e-6, atol=1e-9, equal_nan=True)
    pairs = zip(column, expected, strict=True)
    return all(_plain(value) == _plain(other) for value, other in pairs)


def _plain(value: Any) -> Any:
    """Convert a cell to what compares by value; all missing values are equal."""
    if isinstance(value, list | np.ndarray):
        return [_plain(item) for item in value]
    return None if pd.isna(value) else value


def _missing(results: StudyResults, runs: Sequence[Run]) -> Iterator[str]:
    if (results.folder / INDEX).exists():
        own = set(results.index["runs"])
        for run in runs:
            if run.path.name not in own:
                yield f"{run.path} is no run of this study, and is ignored"
        for name in results.tables:
            without = [run for run in runs if not (run.table_folder / f"{name}.parquet").exists()]
            if 0 < len(without) < len(runs):
                those = counted(len(without), "run")
                yield f"{those} without a table {name} of their own to compare with"
        for name in results.unmeasured:
            yield f"there is no table {name}; the study's command makes it"
        if missing := len(results.missing):
            yield f"{missing} runs are not trained yet"
