"""A study for users: run one or open one, then its runs, tables, verdicts and exports."""

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
from peftlens.reports import page
from peftlens.reports.missing import missing_results
from peftlens.results import study_results
from peftlens.results.study_results import StudyResults
from peftlens.results.table import html_of
from peftlens.studies import runner
from peftlens.studies.runner import StudyOptions

Format = Literal["markdown", "latex", "csv", "html"]


@dataclass(frozen=True)
class Study:
    """A study, a folder of runs, or one run, with the tables measured of them.

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
        results: contents of the folder when it was read.
    """

    results: StudyResults

    @property
    def name(self) -> str:
        """Name in the study file."""
        return self.results.name

    @property
    def folder(self) -> Path:
        """Folder of the study."""
        return self.results.folder

    @property
    def runs(self) -> tuple[Run, ...]:
        """Finished runs, in the study's order."""
        return tuple(Run(run.path) for run in self.results.runs)

    @cached_property
    def tables(self) -> dict[str, Table]:
        """Tables by probe."""
        return {name: Table.of(one) for name, one in self.results.tables.items()}

    @property
    def failures(self) -> pd.DataFrame:
        """Every result that is missing: its kind, the reason, the traceback if there is one."""
        rows = [
            {"kind": missing.title, "reason": reason, "details": details}
            for missing in missing_results(self.results)
            for reason, details in missing.lines
        ]
        return pd.DataFrame(rows, columns=["kind", "reason", "details"])

    def verdicts(self) -> pd.DataFrame:
        """Judge every claim by the study's tables: a row for each, those not measured last."""
        found = judge({name: one.frame for name, one in self.tables.items()})
        ordered = sorted(found, key=lambda verdict: verdict.outcome == "not measured")
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
        """Scores and costs of every configuration, with intervals.

        Args:
            format: text for a paper or README; by default a data frame with a row for each
                configuration, task and metric.
            metrics: such as accuracy or forgetting; all by default.

        Raises:
            InputError: no such metric, or nothing was measured.
        """
        frame = benchmark_table.benchmark_table(self.results, tuple(metrics))
        return frame if format is None else table_formats.FORMATS[format](self.results, frame)

    def bibtex(self) -> str:
        """BibTeX of peftlens with the hash of the results, the base, each method, the data."""
        return bibtex([self.results])

    def report(self, out: str | Path | None = None) -> Path:
        """Write the report, one HTML file without network; `report.html` in the folder by default.

        Raises:
            InputError: the page's folder is not there.
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
    """Open a study's folder, a folder of runs, or a run's.

    Example:
        ```python
        study = pl.load_study("studies/my-study")
        ```

    Raises:
        InputError: the folder holds no run, or a later version wrote it.
    """
    return Study(study_results.read(folder))


def run_study(  # noqa: PLR0913  # an option each
    file: str | Path,
    out: str | Path,
    *,
    full_scale: bool = False,
    workers: int | None = None,
    filter: Sequence[str] = (),
    retry_failed: bool = False,
    trust_remote_code: bool = False,
) -> Study:
    """Train the grid of runs that a file describes, measure them, and write the tables.

    Finished runs are kept: the same call goes on where the last one stopped. A run that fails
    stands in `failures`, and the others go on.

    Example:
        ```python
        study = pl.run_study("my-study.toml", "studies/my-study")
        ```

    Args:
        file: TOML file with the grid.
        out: folder of the study.
        full_scale: run the larger study that the file's table [full_scale] describes.
        workers: runs trained at the same time; as many as the machine has room for by default, and
            0 for this process itself.
        filter: patterns of configurations to train, such as `lora*`; all by default.
        retry_failed: train and measure once more the runs that failed before.
        trust_remote_code: run Python that the base model's folder brings along.

    Raises:
        InputError: the file, or anything it names, can't be used.
    """
    options = StudyOptions(
        full_scale=full_scale, workers=workers, filter=tuple(filter), retry_failed=retry_failed
    )
    runner.run_study(file, out, options, trust_remote_code=trust_remote_code)
    return load_study(out)
