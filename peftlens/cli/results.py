"""Commands for results: report, table, cite, export, import-results."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from peftlens.cli import targets
from peftlens.cli.output import Open, open_in_browser
from peftlens.numerics.counts import counted

if TYPE_CHECKING:
    from peftlens.results.study_results import StudyResults

Study = Annotated[Path, typer.Argument(help="Folder of a study.")]
Out = Annotated[Path | None, typer.Option(help="Write to this file; printed by default.")]


def report(  # noqa: PLR0913  # one argument per flag
    studies: Annotated[list[Path], typer.Argument(help=f"{targets.HELP} Or several studies.")],
    base: Annotated[
        str | None, typer.Option(help="Base model of an adapter, loaded for further measurements.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Path of the page; report.html in a study's folder by default, or here."),
    ] = None,
    title: Annotated[
        str | None, typer.Option(help="Title of the page; the study's name by default.")
    ] = None,
    assets: Annotated[
        bool,
        typer.Option(
            "--assets",
            help="Write Plotly to a separate file of 4 MB, which several pages can share.",
        ),
    ] = False,
    show: Open = False,
    trust_remote_code: targets.Trust = False,
) -> None:
    """Write a report as one HTML file without network use: verdicts, figures, tables, provenance.

    Several studies share one page, which needs --out. The page of an adapter shows the findings of
    `peftlens inspect`.
    """
    from peftlens.reports import page as reports

    if len(studies) == 1 and (studies[0] / "adapter_config.json").exists():
        from peftlens.inspection.inspect import inspect

        inspection = inspect(studies[0], base, trust_remote_code=trust_remote_code)
        page = reports.write_inspection(
            inspection.results,
            inspection.about,
            inspection.findings,
            out or Path("report.html"),
            title=title,
        )
    else:
        page = reports.write(studies, out, title=title, assets=assets)
    print(page)
    if show:
        open_in_browser(page)


def table(
    study: Study,
    output: Annotated[
        Literal["markdown", "latex", "csv", "html"],
        typer.Option("--format", help="Format of the table."),
    ] = "markdown",
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Metric such as accuracy or forgetting; may be repeated. All by default."
        ),
    ] = None,
    out: Out = None,
) -> None:
    """Write a study's benchmark table, with intervals, for a paper or a README.

    CSV has a row per configuration, task and metric; the other formats have a row per
    configuration. Values in bold differ from those of all other configurations in a paired test.
    """
    from peftlens.export.benchmark_table import benchmark_table, missing_metrics
    from peftlens.export.table_formats import FORMATS

    results = _read(study)
    _write(FORMATS[output](results, benchmark_table(results, tuple(metric or ()))), out)
    for line in () if metric else missing_metrics(results):
        print(line, file=sys.stderr)


def cite(
    studies: Annotated[list[Path], typer.Argument(help="Folder of a study, or of several.")],
    out: Out = None,
) -> None:
    """Write BibTeX entries of peftlens with the results' hash, base model, methods and data."""
    from peftlens.export.bibtex import bibtex

    _write(bibtex([_read(study) for study in studies]) + "\n", out)


def export(
    target: Annotated[
        Path,
        typer.Argument(help="Folder of a study, of runs or of a run; of a run for model-card."),
    ],
    to: Annotated[
        Literal["peft-comparison", "model-card", "tensorboard", "wandb", "mlflow", "trackio"],
        typer.Option(
            help="peft-comparison: the JSON files of Hugging Face's method_comparison; "
            "model-card: the metadata of one run's model card; else an experiment tracker."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the JSON files or of the tracker's files, path of the card, or file "
            "of MLflow's SQLite store."
        ),
    ] = None,
    project: Annotated[
        str | None,
        typer.Option(help="Project or experiment of the tracker; the study's title by default."),
    ] = None,
) -> None:
    """Export results in the format of another tool.

    Trackers get the metrics by step, hyperparameters and final results of finished runs. A second
    export of a run replaces the first.
    """
    from peftlens.export import method_comparison, model_card
    from peftlens.runs.run import Run

    if to == "model-card":
        _write(model_card.metadata(Run(target)), out)
    elif to == "peft-comparison":
        folder = out or target / "peft-comparison"
        written = method_comparison.export(_read(target), folder)
        print(f"{folder}: {counted(len(written), 'file')}")
    else:
        _export_to_tracker(target, to, out, project)


def _export_to_tracker(target: Path, to: str, out: Path | None, project: str | None) -> None:
    from importlib import import_module

    from peftlens.export.experiment_run import experiment_runs

    module = import_module(f"peftlens.export.{to}")
    exported = module.export(experiment_runs(_read(target)), out, project)
    unchanged = f", {exported.unchanged} unchanged" if exported.unchanged else ""
    print(f"{exported.place}: {counted(exported.written, 'run')} written{unchanged}")
    if exported.hint:
        print(exported.hint)


def import_results(
    folder: Annotated[Path, typer.Argument(help="Folder with JSON files of method_comparison.")],
    out: Annotated[Path, typer.Option(help="Folder of the study.")],
    items: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of test questions; inferred from the accuracies by default."
        ),
    ] = None,
) -> None:
    """Import results of Hugging Face's method_comparison, for report and table.

    Adds an exact binomial interval to each accuracy, and tests whether it ties with the best.
    """
    from peftlens.results.method_comparison import import_results as import_files

    frame = import_files(folder, out, items)[0].frame
    tied, scored = int(frame["tied"].sum()), int(frame["accuracy"].notna().sum())
    print(
        f"{out}: {counted(len(frame), 'experiment')}, {scored} with a test accuracy, "
        f"{tied} tied for the best"
    )
    print(f"To show them: peftlens report {out}, or peftlens table {out}")


def _read(study: Path) -> "StudyResults":
    """Read the results of a study; print the warnings about its files."""
    from peftlens.results import study_results

    results = study_results.read(study)
    targets.warn(results)
    return results


def _write(text: str, out: Path | None) -> None:
    if out is None:
        sys.stdout.write(text)
        return
    from peftlens.io.html import write

    print(write(text, out))
