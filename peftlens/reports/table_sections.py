"""Table sections of the report: figures, rows as text, and all rows as a CSV download."""

import base64
import gzip
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pandas as pd

from peftlens import registry
from peftlens.errors import InputError
from peftlens.io import escaping
from peftlens.reports import loss_curves
from peftlens.reports.cells import Grid, grid, ordered_columns
from peftlens.reports.figure import (
    Figure,
    LegendEntry,
    is_labeled_directly,
    page_figure,
    shared_legend,
)
from peftlens.reports.section_plots import SectionPlots, section_plots
from peftlens.results.configurations import CONFIGURATIONS
from peftlens.results.display_names import display_name, with_display_names
from peftlens.results.table import Column, Table, measured

FIRST = (
    loss_curves.NAME, "learning", "rank_chart", "task_accuracy", "generations",
    "forgetting_at_matched_fit", "continual", "continual_matrix", "forgetting", "linear_probes",
    "cost", "parameter_count",
)  # fmt: skip
# Titles of sections whose probe's name does not say what they show.
TITLES = {
    "activation_difference": "Words that training adds to the states",
    "base_parameters": "Parameters of the base model",
    "canary_exposure": "Planted secrets",
    "configurations": "Hyperparameters",
    "continual": "Tasks in sequence",
    "continual_matrix": "Accuracy on each task after each task",
    "delta_spectrum": "Directions that the updates use",
    "loss_curves": "Loss curves",
    "paired_accuracy": "Paired differences of accuracy",
    "rank_chart": "Accuracy by parameters",
    "razor": "What predicts forgetting",
    "sequence_items": "Answers to each example of a sequence",
    "sequence_scores": "Accuracy on all tasks of a sequence",
    "soft_prompt_faithfulness": "Soft prompts: replaced by their nearest tokens",
    "soft_prompt_neighbors": "Soft prompts: nearest tokens by five metrics",
    "soft_prompt_null": "Soft prompts: tests against chance",
    "soft_prompt_task_words": "Soft prompts: words of the task",
    "task_items": "Answers to each test example",
    "traces": "Does training show on unrelated text?",
    "vocabulary_clusters": "Soft prompts: clusters of the vocabulary",
}
SHOWN = 100  # rows of a table on the page; its CSV has all
OPEN = 4  # figures of one chart that are not folded
PACKED = 100_000  # size of a CSV above which it is compressed, bytes
MOST = 400_000  # size of a compressed CSV above which the page does not include it, bytes


@dataclass(frozen=True)
class Download:
    """All rows of a table as CSV, in a data URL that needs no network.

    Attributes:
        file: name of the downloaded file.
        link: data URL; empty where the table is too large for a page.
    """

    file: str
    link: str


@dataclass(frozen=True)
class Section:
    """Section on one table, with its figures.

    Attributes:
        name: name of the probe.
        description: paragraphs of the probe's documentation.
        options: options of the probe, as text.
        columns: descriptions of the columns.
        grid: heads, and the first rows.
        shown: figures visible at first.
        folded: further figures.
        n_rows: number of all rows.
        is_cut: whether a chart has more figures than the page shows.
        not_applicable: one line per run to which the probe does not apply.
        download: all rows as CSV.
        legend: legend that all figures share; empty where each has its own.
        is_labeled_directly: whether series are labeled at their lines, if there is room.
    """

    name: str
    description: list[str]
    options: str
    columns: tuple[Column, ...]
    grid: Grid
    shown: list[Figure]
    folded: list[Figure]
    n_rows: int
    is_cut: bool
    not_applicable: list[str]
    download: Download
    legend: tuple[LegendEntry, ...] = ()
    is_labeled_directly: bool = False

    @property
    def title(self) -> str:
        """Title of the section: what it shows, or the probe's name where that tells it."""
        return TITLES.get(self.name) or self.name.replace("_", " ").capitalize()


def ordered(
    tables: dict[str, Table], prefix: str = "", *, has_chooser: bool = False
) -> Iterator[Section]:
    """Yield the sections, the most important first: accuracy, forgetting, cost; options last.

    Args:
        tables: tables by name.
        prefix: prefix of the ids of figures.
        has_chooser: whether the page has a chart of any two metrics, which contains Pareto charts.
    """
    first = [name for name in FIRST if name in tables]
    others = sorted(tables.keys() - set(FIRST), key=lambda name: (name == CONFIGURATIONS, name))
    tables = {name: tables[name] for name in [*first, *others]}
    plots = section_plots(tables, has_chooser=has_chooser)
    for name, one in tables.items():
        yield section(one, prefix, plots[name])


def section(data: Table, prefix: str = "", plots: SectionPlots | None = None) -> Section:
    """Make the section of a table: measured rows, figures, and a line per inapplicable run.

    Args:
        data: the table.
        prefix: prefix of the ids of figures.
        plots: its plots; by default those of the table's charts.
    """
    plots = plots or section_plots({data.name: data})[data.name]
    frame = measured(data.frame)
    inapplicable = data.frame.drop(index=frame.index)
    frame = frame.drop(columns=["status", "reason"], errors="ignore")
    download = _download(data.name, frame)
    frame = frame.dropna(axis="columns", how="all")
    rows = with_display_names(replace(data, frame=frame.head(SHOWN))).frame
    drawn = [
        (place, page_figure(f"{prefix}{data.name}-{n}-{place}", plot))
        for n, of_chart in enumerate(plots.charts)
        for place, plot in enumerate(of_chart)
    ]
    return Section(
        name=data.name,
        description=_description(data.name),
        options=", ".join(f"{name} = {value}" for name, value in data.config.items()),
        columns=tuple(column for column in data.columns if column.name in frame),
        grid=grid(ordered_columns(rows), data.columns),
        shown=[figure for place, figure in drawn if place < OPEN],
        folded=[figure for place, figure in drawn if place >= OPEN],
        n_rows=len(frame),
        is_cut=plots.is_cut,
        not_applicable=[
            f"{display_name(str(row.configuration))}: {row.reason}"
            for row in inapplicable.itertuples()
        ],
        download=download,
        legend=shared_legend(figure for _, figure in drawn),
        is_labeled_directly=is_labeled_directly(figure for _, figure in drawn),
    )


def _description(probe: str) -> list[str]:
    """Read the paragraphs of the probe's docstring, without importing it."""
    if probe == loss_curves.NAME:
        return (loss_curves.__doc__ or "").strip().split("\n\n")
    try:
        return registry.describe("probes", probe).doc.split("\n\n")
    except InputError:  # the probe belongs to a package that is not installed
        return []


def _download(name: str, frame: pd.DataFrame) -> Download:
    csv = escaping.to_csv(frame).encode()
    if len(csv) <= PACKED:
        return Download(f"{name}.csv", _link("text/csv", csv))
    packed = gzip.compress(csv, mtime=0)
    link = _link("application/gzip", packed) if len(packed) <= MOST else ""
    return Download(f"{name}.csv.gz", link)


def _link(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
