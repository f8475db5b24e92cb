"""Study, for notebooks: run or open one; its runs, tables, verdicts and exports."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, overload

import pandas as pd

from peftlens.api.run import Run
from peftlens.api.table import Table
from peftlens.claims import judge
from peftlens.export import benchmark_table, table_formats
from peftlens.export.bibtex import bibtex
from peftlens.io.progress import say
from peftlens.reports import page
from peftlens.reports.decisions import reached
from peftlens.reports.missing import missing_results
from peftlens.results import study_results
from peftlens.results.study_results import StudyResults
from peftlens.results.table import html_of
from peftlens.studies import runner
from peftlens.studies.runner import StudyOptions

Format = Literal["markdown", "latex", "csv", "html"]


@dataclass(frozen=True)
class Study:
    """Study, folder of runs, or single run, with its tables.

    Example:
        ```python
        study = pl.load_study("studies/my-study")
        study.runs
        study.tables["rank_chart"].plot()
        study.failures
        study.verdicts()
        study.benchmark_table(format="latex")
        study.bibtex()
        study.report("report.html")
        ```

    Attributes:
        results: contents of the folder at the time of reading.
    """

    results: StudyResults

    @property
    def name(self) -> str:
        """Name of the study in its file."""
        return self.results.name

    @property
    def folder(self) -> Path:
        """Folder of the study."""
        return self.results.folder

    @property
    def runs(self) -> tuple[Run, ...]:
        """Finished runs, in the order of the study."""
        return tuple(Run(run.path) for run in self.results.runs)

    @cached_property
    def tables(self) -> dict[str, Table]:
        """Tables, by name of the probe."""
        return {name: Table.of(one) for name, one in self.results.tables.items()}

    @property
    def failures(self) -> pd.DataFrame:
        """Missing results: kind, reason, and traceback if there is one."""
        rows = [
            {"kind": missing.title, "reason": reason, "details": details}
            for missing in missing_results(self.results)
            for reason, details in missing.lines
        ]
        return pd.DataFrame(rows, columns=["kind", "reason", "details"])

    def verdicts(self) -> pd.DataFrame:
        """Judge all claims by the study's tables; one row per claim, those not measured last.

        Claims that a study until its claims are decided was asked for have its looks' verdicts.
        """
        judged = judge({name: one.frame for name, one in self.tables.items()})
        verdicts = reached(judged, self.results)
        ordered = sorted(verdicts, key=lambda verdict: verdict.outcome == "not measured")
        columns = ["claim", "outcome", "sentence", "text", "source"]
        return pd.DataFrame([asdict(verdict) for verdict in ordered], columns=columns)

    @overload
    def benchmark_table(
        self, *, format: None = None, metrics: Sequence[str] = ()
    ) -> pd.DataFrame: ...
    @overload
    def benchmark_table(self, *, format: Format, metrics: Sequence[str] = ()) -> str: ...
    def benchmark_table(
        self, *, format: Format | None = None, metrics: Sequence[str] = ()
    ) -> pd.DataFrame | str:
        """Tabulate scores and costs of every configuration, with intervals.

        Args:
            format: format of the text for a paper or README; by default a data frame with one row
                per configuration, task and metric.
            metrics: names of metrics, such as accuracy or forgetting; by default all.

        Raises:
            InputError: a metric does not exist, or nothing was measured.
        """
        frame = benchmark_table.benchmark_table(self.results, tuple(metrics))
        return frame if format is None else table_formats.FORMATS[format](self.results, frame)

    def bibtex(self) -> str:
        """Write BibTeX entries of peftlens, with the results' hash, the base, methods and data."""
        return bibtex([self.results])

    def report(self, out: str | Path | None = None) -> Path:
        """Write the report as one offline HTML file, by default `report.html` in the folder.

        Raises:
            InputError: the folder of the page does not exist.
        """
        return page.write(self.folder, out)

    def _repr_html_(self) -> str:
        results = self.results
        counts = {
            "study": self.name,
            "folder": str(self.folder),
            "finished runs": len(results.runs),
            "failures": len(self.failures),
            "tables": ", ".join(self.tables),
        }
        return html_of(pd.DataFrame({"": counts.keys(), " ": counts.values()}))


def load_study(folder: str | Path) -> Study:
    """Open a study by its folder, a folder of runs, or the folder of one run.

    Files that are damaged, have changed or belong elsewhere are reported and left out.

    Example:
        ```python
        study = pl.load_study("studies/my-study")
        ```

    Raises:
        InputError: the folder holds no run, or was written by a later version.
    """
    results = study_results.read(folder)
    for line in results.warnings:
        say(line)
    return Study(results)


def run_study(  # noqa: PLR0913  # one argument per option
    file: str | Path,
    out: str | Path,
    *,
    full_scale: bool = False,
    workers: int | None = None,
    filter: Sequence[str] = (),
    retry_failed: bool = False,
    trust_remote_code: bool = False,
) -> Study:
    """Train the grid of runs in a study file, measure them, and write the tables.

    Finished runs are reused, so the same call resumes an interrupted study. A failed run is listed
    in `failures`, and the other runs continue.

    Example:
        ```python
        study = pl.run_study("my-study.toml", "studies/my-study")
        ```

    Args:
        file: TOML file with the grid.
        out: folder of the study.
        full_scale: whether to run the larger study in the file's table [full_scale].
        workers: number of runs trained at the same time; by default as many as fit in memory; 0
            trains in this process.
        filter: patterns of configurations to train, such as `lora*`; by default all.
        retry_failed: whether to repeat runs and measurements that failed before.
        trust_remote_code: whether Python code from the base model's folder may run.

    Raises:
        InputError: the file or one of its values is invalid.
    """
    options = StudyOptions(
        full_scale=full_scale, workers=workers, filter=tuple(filter), retry_failed=retry_failed
    )
    runner.run_study(file, out, options, trust_remote_code=trust_remote_code)
    return load_study(out)
