"""Command `study --until-decided`: verdicts, what would decide the others, and the report."""

import sys
import textwrap
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from peftlens.cli.output import print_json, resumable
from peftlens.errors import InputError
from peftlens.io.escaping import visible

if TYPE_CHECKING:
    import pandas as pd

    from peftlens.studies.options import StudyOptions
    from peftlens.studies.status import StudyStatus

_ENDINGS = {
    "decided": "All claims are decided.",
    "not measurable": "The claims that are left are not measured by these runs.",
    "looks": "All looks are used up.",
    "budget": "The next round would overrun the budget.",
}


def decide(  # noqa: PLR0913  # the flags that are its own
    file: Path,
    out: Path,
    options: "StudyOptions",
    changes: dict[str, Any],
    *,
    as_json: bool = False,
    trust: bool = False,
) -> None:
    """Run a study until its claims are decided, write its report and print the verdicts."""
    from peftlens.reports import page as report
    from peftlens.studies.until_decided import run_until_decided

    changes = {name: value for name, value in changes.items() if value}
    if "budget" in changes:
        _check_budget(changes["budget"])
    options = replace(options, show=partial(report.write_while_running, out))
    with resumable():
        outcome = run_until_decided(file, out, options, changes, trust_remote_code=trust)
    has_tables = (out / "confirmation" / "tables").is_dir()
    page = report.write(out) if has_tables else None
    _print(outcome, page, as_json=as_json)
    if outcome.failed:
        raise typer.Exit(1)


def _check_budget(text: str) -> None:
    from peftlens.studies.decisions import budget_seconds

    try:
        budget_seconds(text)
    except ValueError as error:
        raise InputError(f"--budget {error}") from error


def _print(outcome: Any, page: Path | None, *, as_json: bool) -> None:
    from peftlens.results.sequential import LOOKS, last_verdicts, read_rows
    from peftlens.studies.confirmation import remedies

    looks = read_rows(outcome.folder, LOOKS)
    last, left = last_verdicts(looks), remedies(outcome.ending, looks)
    if as_json:
        columns = ["claim", "outcome", "look", "n_seeds", "sentence"]
        rows = last[columns].to_dict("records")
        print_json(
            {
                "folder": str(outcome.folder),
                "report": page and str(page),
                "ending": outcome.ending,
                "claims": [row | {"would_decide": left.get(row["claim"])} for row in rows],
                "failed": list(outcome.failed),
            }
        )
        return
    print_verdicts(last, left)
    print(f"\n{_ENDINGS[outcome.ending]}")
    if page:
        print(visible(f"Report: {page}"))
    for line in outcome.failed:
        print(visible(line), file=sys.stderr)


def print_verdicts(last: "pd.DataFrame", left: dict[str, str]) -> None:
    """Print the verdict on each claim, and what would decide those that are open.

    Args:
        last: last row of each claim in the table of the looks.
        left: what would decide the other claims, by their names.
    """
    for row in last.to_dict("records"):
        seen = f"look {row['look']}, {row['n_seeds']} seeds"
        print(f"{row['claim']}: {row['outcome']} ({seen})")
        _print_wrapped(row["sentence"])
        if row["claim"] in left:
            _print_wrapped(f"What would decide it: {left[row['claim']]}.")


def print_status(
    folder: Path, print_stage: Callable[["StudyStatus"], object], *, as_json: bool = False
) -> None:
    """Print the progress of both stages, and the verdicts so far.

    Args:
        folder: folder of the whole study.
        print_stage: function that prints the progress of one stage.
        as_json: whether to print JSON.
    """
    from peftlens.results.sequential import LOOKS, last_verdicts, read_rows
    from peftlens.studies.status import stages_status

    stages = stages_status(folder)
    last = last_verdicts(read_rows(folder, LOOKS))[["claim", "outcome", "look", "n_seeds"]]
    if as_json:
        found = {stage: asdict(progress) for stage, progress in stages.items()}
        print_json(found | {"claims": last.to_dict("records")})
        return
    for stage, progress in stages.items():
        print(f"{stage}: ", end="")
        print_stage(progress)
    for row in last.to_dict("records"):
        print(f"{row['claim']}: {row['outcome']} (look {row['look']}, {row['n_seeds']} seeds)")


def _print_wrapped(text: str) -> None:
    wrapped = textwrap.wrap(
        text, 80, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False
    )
    for line in wrapped:
        print(visible(line))
