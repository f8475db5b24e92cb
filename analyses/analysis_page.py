"""README.md of an analysis in reports/, from its committed tables alone."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from evidence import REPORTS, Tables, read

from peftlens.numerics.counts import counted, duration
from peftlens.results.sequential import undertrained

STUDY_FILES = Path(__file__).parent / "studies"
NOTES = Path(__file__).parent / "notes"  # what belongs to an analysis and is not of its studies


def page(name: str, verdicts: pd.DataFrame) -> str:
    """Return the page of an analysis: for each study its question, verdicts, results and origin.

    Args:
        name: name of the analysis.
        verdicts: verdicts on all claims.
    """
    parts = [f"# {name.replace('_', ' ').capitalize()}"]
    if (REPORTS / f"{name}.html").exists():
        parts.append(f"Figures and all tables are on the [page](../{name}.html).")
    for study in generated(name):
        tables = read(REPORTS / name / "tables" / study)
        (about,) = tables["about"].to_dict("records")
        parts += [f"## {about['model']}: {about['task']}", question_of(study)]
        rows = verdicts[
            (verdicts["analysis"] == name)
            & (verdicts["model"] == about["model"])
            & verdicts["task"].map(lambda task, own=about["task"]: own in (task, *task.split(", ")))
        ]
        parts.append("\n".join(_verdicts(rows)))
        parts.append((REPORTS / name / "results" / f"{study}.md").read_text(encoding="utf-8"))
        parts += _limits(tables)
        parts.append(_origin(study, about, tables))
    if (notes := NOTES / f"{name}.md").exists():
        parts.append(notes.read_text(encoding="utf-8"))
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def generated(name: str) -> list[str]:
    """Return the names of an analysis' studies whose files are in analyses/studies."""
    folders = sorted((REPORTS / name / "tables").glob("*/"))
    return [one.name for one in folders if (STUDY_FILES / f"{one.name}.toml").exists()]


def question_of(study: str) -> str:
    """Return the comment at the head of a study's file: its question, and what it is about."""
    lines = (STUDY_FILES / f"{study}.toml").read_text(encoding="utf-8").splitlines()
    first = next(place for place, line in enumerate(lines) if not line.startswith("#"))
    return " ".join(line.removeprefix("#").strip() for line in lines[:first])


def _verdicts(rows: pd.DataFrame) -> Iterator[str]:
    for row in rows.to_dict("records"):
        yield f"- {row['text']} *{row['outcome'].capitalize()}*: {row['sentence']}"


def _limits(tables: Tables) -> Iterator[str]:
    if "rates" in tables and (sentences := [*undertrained(tables["rates"])]):
        yield "\n".join(f"- {one}" for one in sentences)


def _origin(study: str, about: dict, tables: Tables) -> str:
    runs = counted(int(about["runs"]), "run")
    hours = about["hours"]
    if "race_runs" in about and not pd.isna(about["race_runs"]):
        race, looks = about["race_runs"], tables["looks"]["look"].max()
        runs += f" after a race as long as {race:.0f}, {counted(int(looks), 'look')}"
        hours = about["race_hours"] + tables["looks"]["hours"].max()
    steps, batch = (
        "various" if pd.isna(about[name]) else int(about[name]) for name in ("steps", "batch_size")
    )
    return (
        f"{steps} steps of {batch}; {runs}; {duration(3600 * hours)} on {about['processor']}, "
        f"{about['date']}. From `analyses/studies/{study}.toml`; tables: [tables/{study}]"
        f"(tables/{study})."
    )
