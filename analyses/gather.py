"""Gather the results of the analyses into reports/: pages, tables, and a verdict on every claim.

for file in analyses/studies/*.toml; do
    peftlens study $file $(grep -q '^.decisions' $file && echo --until-decided)
done
python analyses/gather.py studies rank placement  # or other analyses; all that are there by default

An analysis is a question such as `rank`; analyses/studies/NAME_MODEL_TASK.toml are its studies. For
each: reports/NAME.html, which uses the shared copy of Plotly in reports/; reports/NAME/results, the
benchmark table of each study as CSV, LaTeX and Markdown; and reports/NAME/tables/STUDY, from which
claims are judged. Then reports/verdicts.csv, the tables in reports/README.md and the README.md of
each analysis are made from all tables that are there. Studies that are not there, and analyses not
named, are unchanged.
"""

import gzip
import json
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pandas as pd
from analysis_page import generated, page, question_of
from evidence import REPORTS, analyses, judged
from scipy.stats import norm
from verdict_tables import write_tables

from peftlens.export.benchmark_table import benchmark_table
from peftlens.export.table_formats import FORMATS
from peftlens.io import escaping
from peftlens.numerics.alpha_spending import look_levels
from peftlens.numerics.mixed_model import POWER
from peftlens.registry import load
from peftlens.reports import page as report
from peftlens.results import study_results
from peftlens.results.configurations import CONFIGURATIONS
from peftlens.results.sequential import (
    LOOKS,
    RATES,
    RUNGS,
    SELECTION,
    SETTINGS,
    is_sequential,
    read_rows,
    study_folder,
)
from peftlens.results.study_index import INDEX
from peftlens.results.study_results import StudyResults
from peftlens.studies.decisions import Decisions
from peftlens.studies.stopwatch import Stopwatch

STUDY_FILES = Path(__file__).parent / "studies"
LARGE = 100_000  # size of a table above which it is compressed, bytes
FORMAT_OF = {".csv": "csv", ".tex": "latex", ".md": "markdown"}


def studies_of(name: str, folder: Path) -> Iterator[Path]:
    """Yield the folders of an analysis' studies that are there, without those that are running."""
    for file in [STUDY_FILES / f"{name}.toml", *sorted(STUDY_FILES.glob(f"{name}_*.toml"))]:
        study = folder / file.stem
        if not (study_folder(study) / INDEX).exists():
            continue
        one = study_results.read(study)
        if one.missing or one.unmeasured or one.outdated:
            print(f"{study} is not complete; run its command again")
        elif not is_sequential(study) or len(read_rows(study, LOOKS)):
            yield study


def gather(name: str, studies: Iterable[Path]) -> None:
    """Write the page and the tables of an analysis."""
    studies = [*studies]
    folder = REPORTS / name
    (folder / "results").mkdir(parents=True, exist_ok=True)
    question = question_of(studies[0].name).partition("? ")[0] + "?"
    report.write(studies, REPORTS / f"{name}.html", title=question, assets=True)
    claims = [load("claims", one) for one in analyses()[name]]
    needs = {need for claim in claims for need in claim.NEEDS}
    needs |= {CONFIGURATIONS}  # it tells which runs were trained on shuffled labels
    for study in studies:
        one = study_results.read(study)
        for ending, output in FORMAT_OF.items():
            text = FORMATS[output](one, benchmark_table(one))
            (folder / "results" / f"{study.name}{ending}").write_text(text, encoding="utf-8")
        frames = {table: content.frame for table, content in one.tables.items() if table in needs}
        frames["about"] = pd.DataFrame([about(study, one)])
        if is_sequential(study):
            frames |= {"looks": read_rows(study, LOOKS), "rates": read_rows(study, RATES)}
        keep(frames, folder / "tables" / study.name)


def about(study: Path, one: StudyResults) -> dict[str, object]:
    """Describe a study in a row: model, task, machine, and what it took."""
    file = tomllib.loads(one.text)
    tasks = file["continual"]["tasks"] if "continual" in file else [file["task"]]
    processors = sorted({call["processor"] for call in one.calls if call.get("processor")})
    row: dict[str, object] = {
        "study": study.name,
        "model": file["base_model"],
        "task": ", ".join(task["name"] for task in tasks),
        "steps": file["training"].get("max_steps"),  # absent where the study varies it
        "batch_size": file["training"].get("batch_size"),
        "date": max(call["began"] for call in one.calls)[:10],
        "processor": ", ".join(processors),
        "runs": len(one.runs),
        "hours": sum(call.get("seconds") or 0 for call in one.calls) / 3600,
    }
    return row | (race(study) if is_sequential(study) else {})


def race(study: Path) -> dict[str, object]:
    """Return what the race of a study took, and the runs of a fixed design of equal power.

    A run of the race counts by the share of the steps that it took. The fixed design trains every
    learning rate of the race on every seed, and as many seeds as give one look at the whole level
    the power of the last look: by the normal approximation, in which they go with the square of
    the sum of both quantiles.
    """
    rungs = read_rows(study, RUNGS)
    shares = rungs.groupby(["configuration", "learning_rate"])["share_of_steps"].max()
    settings = json.loads((study / SETTINGS).read_text(encoding="utf-8"))
    fields = {key: settings[key] for key in Decisions.model_fields if key in settings}
    decisions = Decisions.model_validate(fields)
    levels = decisions.alpha / 2, look_levels(decisions.alpha / 2, decisions.looks)[-1]
    once, last = ((norm.isf(level) + norm.ppf(POWER)) ** 2 for level in levels)
    seeds = round(decisions.n_seeds(decisions.looks) * once / last)
    return {
        "race_runs": shares.sum() * decisions.selection_seeds,
        "race_hours": Stopwatch(study).seconds(SELECTION) / 3600,
        "fixed_runs": seeds * len(shares),
    }


def keep(frames: Mapping[str, pd.DataFrame], folder: Path) -> None:
    """Write tables as CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.csv*"):
        old.unlink()
    for name, frame in sorted(frames.items()):
        data = escaping.to_csv(frame).encode()
        if len(data) > LARGE:
            (folder / f"{name}.csv.gz").write_bytes(gzip.compress(data, mtime=0))
        else:
            (folder / f"{name}.csv").write_bytes(data)


def main() -> None:
    """Gather the named analyses, or all."""
    studies, names = Path(sys.argv[1]), sys.argv[2:]
    if unknown := {*names} - analyses().keys():
        sys.exit(f"no claim is judged by {', '.join(sorted(unknown))}")
    for name in names or analyses():
        if found := [*studies_of(name, studies)]:
            gather(name, found)
        elif names:
            print(f"{studies} has no complete study of {name}")
    verdicts = judged()
    (REPORTS / "verdicts.csv").write_text(escaping.to_csv(verdicts), encoding="utf-8")
    write_tables(verdicts, REPORTS / "README.md")
    for name in analyses():
        if generated(name):
            (REPORTS / name / "README.md").write_text(page(name, verdicts), encoding="utf-8")


if __name__ == "__main__":
    main()
