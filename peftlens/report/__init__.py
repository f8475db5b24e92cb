"""The report: finished files in, one self-contained HTML page out.

It reads tables and run records and imports no torch. The same files give the same bytes.
"""

import base64
import hashlib
import json
from pathlib import Path

import jinja2
import plotly.offline

from peftlens import __version__, table
from peftlens.claims import Verdict, judge
from peftlens.errors import BadInput
from peftlens.files import write_atomic
from peftlens.report.answer import sentences
from peftlens.report.sections import SHOWN, neighbours, section
from peftlens.run import Run
from peftlens.table import Table

FIRST = ("task_accuracy", "rank_accuracy", "forgetting", "parameter_count")


def write(study: str | Path, out: str | Path | None = None) -> Path:
    """Write a study's report.

    Args:
        study: folder that `peftlens study` or `peftlens quickstart` filled.
        out: the page; `report.html` in the study's folder by default.

    Raises:
        BadInput: the folder holds no study, or one of its tables is damaged.
    """
    study = Path(study)
    target = Path(out) if out else study / "report.html"
    write_atomic(target, render(study).encode())
    return target


def render(study: Path) -> str:
    """The page as text."""
    if not (study / "study.json").is_file():
        raise BadInput(f"{study} holds no study: it has no study.json; run `peftlens study` first")
    index = json.loads((study / "study.json").read_text())
    runs = [Run(path) for name in index["runs"] if (path := study / "runs" / name).is_dir()]
    tables = {t.name: t for t in map(table.read, sorted((study / "tables").glob("*.parquet")))}
    scripts = [plotly.offline.get_plotlyjs(), _source("page.js")]
    return (
        _environment()
        .get_template("page.html")
        .render(
            title=index["name"],
            answer=list(sentences(tables)),
            verdicts=[v for v in _verdicts(tables) if v.outcome != "not measured"],
            neighbours=neighbours(tables),
            sections=[section(tables[name]) for name in _order(tables)],
            failed=_failed(study),
            missing=[
                index["configurations"][r]
                for r in index["runs"]
                if not (study / "runs" / r).is_dir()
            ],
            study_file=(study / "study.toml").read_text(),
            provenance=_provenance(runs),
            runs=[_run_row(run, index["configurations"][run.id]) for run in runs],
            version=__version__,
            style=_source("page.css"),
            scripts=scripts,
            script_hashes=[_csp_hash(script) for script in scripts],
            folded=SHOWN,
        )
    )


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("peftlens.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _source(name: str) -> str:
    return (Path(__file__).parent / name).read_text()


def _csp_hash(script: str) -> str:
    """What a Content-Security-Policy needs to let exactly this script run."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _verdicts(tables: dict[str, Table]) -> list[Verdict]:
    return judge({name: table.frame for name, table in tables.items()})


def _order(tables: dict[str, Table]) -> list[str]:
    """What a reader asks first comes first: accuracy, then its price, then the rest."""
    first = [name for name in FIRST if name in tables]
    return first + sorted(name for name in tables if name not in FIRST)


def _failed(study: Path) -> list[str]:
    records = [json.loads(file.read_text()) for file in sorted((study / "failed").glob("*.json"))]
    return [f"{record['what']}: {record['error']}" for record in records]


def _provenance(runs: list[Run]) -> list[tuple[str, str]]:
    if not runs:
        return []
    record = runs[0].record
    machine = record.environment
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return [
        ("base model", f"{record.config.base}, SHA-256 {record.depends_on['base'][:16]}…"),
        ("task", f"{record.config.task}, SHA-256 {record.depends_on['data'][:16]}…"),
        ("computed in", f"{record.config.dtype} on {record.config.device}"),
        (
            "machine",
            f"{machine['device']}, {machine['threads']} threads, {machine['cpu_cores']} cores, "
            f"{machine['machine']}, {machine['system']}",
        ),
        ("versions", f"Python {machine['python']}, {packages}"),
    ]


def _run_row(run: Run, configuration: str) -> list[str]:
    training = run.config.training
    return [
        run.id,
        configuration,
        str(run.config.seed),
        run.record.status,
        str(run.record.results["steps"]),
        f"{training.learning_rate:g}" if training.learning_rate is not None else "–",
        f"{run.timing()[-1]['seconds']:.1f}",
    ]
