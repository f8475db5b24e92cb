"""Report page: render a study's tables and run records as one self-contained HTML page.

It imports no torch. The same files give the same bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import plotly.offline
from plotly.offline import get_plotlyjs_version

from peftlens import __version__
from peftlens.claims import judge
from peftlens.errors import InputError
from peftlens.export.benchmark_table import benchmark_table
from peftlens.export.bibtex import bibtex
from peftlens.inspection.findings import Finding
from peftlens.io import html
from peftlens.io.progress import say
from peftlens.reports.axis_chooser import Chooser, axis_chooser
from peftlens.reports.colored_text import passages
from peftlens.reports.decisions import decisions_section, reached
from peftlens.reports.headline import cards, verdict_cards
from peftlens.reports.learned import SHOWN, learned
from peftlens.reports.learned_card import learned_cards
from peftlens.reports.loss_curves import loss_table
from peftlens.reports.missing import missing_results
from peftlens.reports.next_steps import next_steps
from peftlens.reports.provenance import origins, run_grid
from peftlens.reports.result_table import result_table
from peftlens.reports.scores import scores
from peftlens.reports.side_by_side import answers
from peftlens.reports.soft_prompts import prompts
from peftlens.reports.study_section import StudySection
from peftlens.reports.subject import progress, subject, title
from peftlens.reports.summary import sentences
from peftlens.reports.table_sections import ordered
from peftlens.reports.verdict_groups import verdict_groups
from peftlens.results import study_results
from peftlens.results.display_names import display_name, with_display_names
from peftlens.results.sequential import RACED_RATES, frames_to_judge
from peftlens.results.study_results import StudyResults
from peftlens.results.table import Table
from peftlens.results.untrained import UNTRAINED

PACKAGE = "peftlens.reports"  # package with the template, style and script
LARGE = 15e6  # size of a page that is large for mail and browsers, bytes
PLOTLY = f"plotly-{get_plotlyjs_version()}.min.js"


def write(
    studies: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    title: str | None = None,
    assets: bool = False,
    warn: bool = True,
) -> Path:
    """Write the report of a study, of runs, or of several of these together.

    Args:
        studies: folders of studies (from `peftlens study` or `peftlens quickstart`) or of runs.
        out: file of the page; by default `report.html` in the only folder, or in the current folder
            if that is a run's.
        title: title of the page; the names of the studies by default.
        assets: whether Plotly is written to a separate file next to the page, which several pages
            can share.
        warn: whether to print the warnings about the studies' files.

    Raises:
        InputError: a folder holds no study and no run, or there are several folders and no `out`.
    """
    folders = [Path(one) for one in ([studies] if isinstance(studies, str | Path) else studies)]
    if out is None and len(folders) != 1:
        raise InputError("a report of several studies needs --out, the page's file")
    inside = Path() if (folders[0] / "run.json").exists() else folders[0]
    target = Path(out) if out else inside / "report.html"
    page = _write(render(folders, title=title, assets=assets, warn=warn), target)
    if assets:
        html.write(plotly.offline.get_plotlyjs(), target.parent / PLOTLY)
    return page


def write_while_running(study: Path) -> None:
    """Write the report of a study's results so far; say so the first time."""
    is_first = not (study / "report.html").exists()
    try:
        page = write(study, warn=False)
    except Exception as error:  # noqa: BLE001  # the runs go on whatever is wrong with a page
        say(f"The report will be written at the end: {error}")
        return
    if is_first:
        say(f"First results are in {page}, which grows as runs end")


def write_inspection(
    results: StudyResults,
    properties: Sequence[tuple[str, str]],
    findings: Sequence[Finding],
    out: str | Path,
    *,
    title: str | None = None,
) -> Path:
    """Write the inspection of an adapter as a page.

    Args:
        results: tables of the probes on the adapter.
        properties: properties of the adapter, as pairs of name and value.
        findings: results of the checks, worst first.
        out: file of the page.
        title: title of the page; by default what the adapter is.
    """
    section = replace(
        _section(results, ""),
        verdict_groups=(),
        cards=(),
        findings=tuple(findings),
        properties=tuple(properties),
        learned=tuple(learned(results.tables, seeds=False)),
    )
    return _write(_page([section], [results], title=title), Path(out))


def _write(text: str, target: Path) -> Path:
    if len(text.encode()) > LARGE:
        size = len(text.encode()) / 1e6
        say(f"{target} has {size:.0f} MB; fewer probes or runs make a smaller page")
    return html.write(text, target)


def render(
    studies: Sequence[str | Path],
    *,
    title: str | None = None,
    assets: bool = False,
    warn: bool = True,
) -> str:
    """Render the page as text; see `write`.

    Raises:
        InputError: a folder holds no study and no run.
    """
    results = [study_results.read(study) for study in studies]
    for line in (line for one in results for line in one.warnings if warn):
        say(line)
    prefixes = [f"s{n}-" if len(results) > 1 else "" for n in range(1, len(results) + 1)]
    sections = [_section(*pair) for pair in zip(results, prefixes, strict=True)]
    names = _told_apart([one.name for one in sections], results)
    sections = [replace(one, name=name) for one, name in zip(sections, names, strict=True)]
    return _page(sections, results, title=title, assets=assets)


def _page(
    sections: Sequence[StudySection],
    results: Sequence[StudyResults],
    *,
    title: str | None = None,
    assets: bool = False,
) -> str:
    names = ("tables.js", "chooser.js", "page.js")
    return html.render(
        PACKAGE,
        [html.source(PACKAGE, name) for name in names],
        keep="\n\t",
        later=[] if assets else [plotly.offline.get_plotlyjs()],
        beside=[PLOTLY] if assets else [],
        title=title or _title([one.name for one in sections]),
        sections=sections,
        citation=bibtex(results),
        version=__version__,
        learned_style=html.source(PACKAGE, "learned.css"),
    )


def _told_apart(names: Sequence[str], results: Sequence[StudyResults]) -> list[str]:
    """Add model and task to the names of studies that have the same name."""
    about = {
        n: f"{run.config.base_model} on {run.config.task}"
        for n, one in enumerate(results)
        for run in one.runs[:1]
    }
    return [
        f"{name}: {about[n]}" if names.count(name) > 1 and n in about else name
        for n, name in enumerate(names)
    ]


def _title(names: Sequence[str]) -> str:
    """Join the names of studies; what stands before the colon in all of them is said once."""
    subjects = {name.partition(": ")[0] for name in names}
    rest = [name.partition(": ")[2] for name in names]
    shared = len(names) > 1 and len(subjects) == 1 and all(rest)
    return f"{subjects.pop()}: {_and(rest)}" if shared else _and(names)


def _and(parts: Sequence[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def _chooser(results: StudyResults, prefix: str) -> Chooser | None:
    try:
        return axis_chooser(benchmark_table(results), prefix)
    except InputError:  # nothing for a result table was measured
        return None


def _drawn(results: StudyResults) -> dict[str, Table]:
    """Return the tables with a section: those of probes, and the losses of training."""
    tables = {name: one for name, one in results.tables.items() if name != UNTRAINED}
    losses = loss_table(results)
    return tables | ({losses.name: losses} if losses else {})


def _frames(results: StudyResults, named: Mapping[str, Table]) -> dict[str, pd.DataFrame]:
    """Return what claims read, with the names of configurations that the tables have."""
    frames = frames_to_judge(results.folder, named)
    if RACED_RATES in frames:
        rates = frames[RACED_RATES]
        names = [display_name(key) for key in rates["configuration"]]
        frames[RACED_RATES] = rates.assign(configuration=names)
    return frames


def _section(results: StudyResults, prefix: str) -> StudySection:
    tables = {name: with_display_names(table) for name, table in results.tables.items()}
    judged = judge(_frames(results, tables))
    verdicts = reached(judged, results)
    frame = scores(results)
    chooser = _chooser(results, prefix)
    blocks, vectors = tuple(learned(tables, read=SHOWN)), tuple(prompts(tables))
    return StudySection(
        prefix=prefix,
        name=title(results),
        tables=tuple(ordered(_drawn(results), prefix, has_chooser=chooser is not None)),
        origins=tuple(origins(results)),
        subject=tuple(subject(results)),
        progress=tuple(progress(results)),
        cards=(
            *cards(results, frame),
            *learned_cards(blocks, vectors),
            *verdict_cards(verdicts),
        ),
        verdict_groups=tuple(verdict_groups(results, verdicts)),
        results=result_table(frame),
        answer=tuple(sentences(tables)),
        next_steps=tuple(next_steps(results)),
        prompts=vectors,
        run_grid=run_grid(results),
        absences=tuple(missing_results(results)),
        decisions=decisions_section(results),
        text=results.text,
        answers=tuple(answers(tables)),
        learned=blocks,
        passages=tuple(passages(tables)),
        chooser=chooser,
    )
