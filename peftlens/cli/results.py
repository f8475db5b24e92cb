"""Commands that give results away: report, table, cite, export; and import-results."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from peftlens.cli import targets
from peftlens.cli.output import Open, open_in_browser

Study = Annotated[Path, typer.Argument(help="Folder of a study.")]
Out = Annotated[Path | None, typer.Option(help="Write to this file; printed by default.")]


def report(  # noqa: PLR0913  # a flag each
    studies: Annotated[list[Path], typer.Argument(help=f"{targets.HELP} Or several studies.")],
    base: Annotated[
        str | None, typer.Option(help="Of an adapter: its base model, loaded to say more.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The page; report.html in a study's folder, or here, by default."),
    ] = None,
    assets: Annotated[
        bool,
        typer.Option(
            "--assets",
            help="Keep Plotly in a file beside the page, 4 MB that several pages then share.",
        ),
    ] = False,
    show: Open = False,
    trust_remote_code: targets.Trust = False,
) -> None:
    """Write a report: verdicts, figures, tables, provenance, in one HTML file without network.

    Several studies share one page, which then needs --out. Of an adapter the page says what
    `peftlens inspect` finds.
    """
    from peftlens.reports import page as reports

    if len(studies) == 1 and (studies[0] / "adapter_config.json").exists():
        from peftlens.inspection.inspect import inspect

        found = inspect(studies[0], base, trust_remote_code=trust_remote_code)
        where = out or Path("report.html")
        page = reports.write_inspection(found.results, found.about, found.findings, where)
    else:
        page = reports.write(studies, out, assets=assets)
    print(page)
    if show:
        open_in_browser(page)


def table(
    study: Study,
    output: Annotated[
        Literal["markdown", "latex", "csv", "html"], typer.Option("--format", help="Of the table.")
    ] = "markdown",
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Such as accuracy or forgetting; may be repeated. All by default."),
    ] = None,
    out: Out = None,
) -> None:
    """Give a study's benchmark table, with intervals, for a paper or a README.

    CSV is tidy, a row for each configuration, task and metric; the others have a row for each
    configuration. Bold is only what a paired test tells from every other configuration.
    """
    from peftlens.export.benchmark_table import benchmark_table
    from peftlens.export.table_formats import FORMATS
    from peftlens.results import study_results

    found = study_results.read(study)
    _give(FORMATS[output](found, benchmark_table(found, tuple(metric or ()))), out)


def cite(
    studies: Annotated[list[Path], typer.Argument(help="Folder of a study, or of several.")],
    out: Out = None,
) -> None:
    """Give BibTeX: of peftlens with the hash of the results, the base, each method, the data."""
    from peftlens.export.bibtex import bibtex
    from peftlens.results import study_results

    _give(bibtex([study_results.read(study) for study in studies]) + "\n", out)


def export(
    target: Annotated[Path, typer.Argument(help="Folder of a study; of a run for model-card.")],
    to: Annotated[
        Literal["peft-comparison", "model-card"],
        typer.Option(
            help="peft-comparison: the JSON files of Hugging Face's method_comparison; "
            "model-card: the metadata of one run's model card."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the JSON files, or the card's file.")
    ] = None,
) -> None:
    """Write results in the layout of another tool."""
    from peftlens.export import method_comparison, model_card
    from peftlens.results import study_results
    from peftlens.runs.run import Run

    if to == "model-card":
        _give(model_card.metadata(Run(target)), out)
        return
    folder = out or target / "peft-comparison"
    written = method_comparison.export(study_results.read(target), folder)
    print(f"{folder}: {len(written)} files")


def import_results(
    folder: Annotated[Path, typer.Argument(help="Of JSON files of method_comparison.")],
    out: Annotated[Path, typer.Option(help="The study's folder.")],
    items: Annotated[
        int | None,
        typer.Option(min=1, help="Test questions; found from the accuracies by default."),
    ] = None,
) -> None:
    """Read results of Hugging Face's method_comparison, for report and table.

    Each accuracy gets its exact binomial interval, and is told from the best or tied with it.
    """
    from peftlens.results.method_comparison import import_results as read_all

    frame = read_all(folder, out, items)[0].frame
    tied, known = int(frame["tied"].sum()), int(frame["accuracy"].notna().sum())
    print(
        f"{out}: {len(frame)} experiments, {known} with a test accuracy, {tied} tied for the best"
    )
    print(f"peftlens report {out}, or peftlens table {out}, shows them")


def _give(text: str, out: Path | None) -> None:
    if out is None:
        sys.stdout.write(text)
        return
    from peftlens.io.html import write

    print(write(text, out))
