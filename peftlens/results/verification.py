"""Verification of a study: every file is compared with its digest, its run and its study."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from peftlens.errors import InputError
from peftlens.io.progress import track
from peftlens.results import failures, study_results, table
from peftlens.results.configurations import CONFIGURATIONS, configurations_table
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

    Nothing is changed. Takes as long as reading all weights.

    Raises:
        InputError: the folder holds neither a study nor runs, or a later version wrote it.
    """
    folder = Path(folder)
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
        notes += [*results.unchecked.values(), *results.ignored, *_other_runs(results, runs)]
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
    runs = [run for run in results.runs if isinstance(run, Run)]
    for name, one in results.tables.items() if results.index["runs"] else ():
        if name not in results.outdated and not _equals_its_runs(one, runs, results):
            yield (
                f"the rows of the table {name} differ from what was measured on the runs; delete "
                f"{results.folder / 'tables' / name}.parquet and run the study's command again"
            )


def _equals_its_runs(one: Table, runs: Sequence[Run], results: StudyResults) -> bool:
    """Compare a table with the tables of its runs; True where these can't tell."""
    if one.name == CONFIGURATIONS:
        expected = configurations_table(runs, results.configurations)
    elif "run" not in one.frame or table.failures(one.frame):
        return True
    else:
        joined_table, _ = joined(runs, one.name, results.configurations)
        if joined_table is None or joined_table.runs != tuple(run.id for run in runs):
            return True
        expected = joined_table
    if (expected.version, expected.config) != (one.version, one.config):
        return True
    return table.rows_of(expected.frame) == table.rows_of(one.frame)


def _other_runs(results: StudyResults, runs: Sequence[Run]) -> Iterator[str]:
    if (results.folder / INDEX).exists():
        for run in runs:
            if run.path.name not in results.index["runs"]:
                yield f"{run.path} is no run of this study, and is ignored"
        if missing := len(results.missing):
            yield f"{missing} runs are not trained yet"
