"""The report: finished files in, one self-contained HTML page out.

It reads tables and run records and imports no torch. The same files give the same bytes.
"""

import base64
import hashlib
import json
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import plotly.offline

from peftlens import __version__, figures, table
from peftlens.errors import BadInput
from peftlens.files import write_atomic
from peftlens.run import Run
from peftlens.table import Column, Table

FIRST = ("task_accuracy", "rank_accuracy", "forgetting", "parameter_count")
FOLDED = 30  # rows of a table that are shown unasked


@dataclass(frozen=True)
class Figure:
    """A drawing on the page: an id, what it shows, and Plotly's description of it as JSON."""

    id: str
    title: str
    spec: str


@dataclass(frozen=True)
class Section:
    """One table with its figures."""

    name: str
    columns: tuple[Column, ...]
    header: list[str]
    rows: list[list[str]]
    figures: list[Figure]
    n_rows: int
    not_applicable: list[str]
    csv: str


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
            answer=list(_answer(tables)),
            neighbours=_neighbours(tables),
            sections=[_section(tables[name]) for name in _order(tables)],
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
            folded=FOLDED,
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


def _order(tables: dict[str, Table]) -> list[str]:
    """What a reader asks first comes first: accuracy, then its price, then the rest."""
    first = [name for name in FIRST if name in tables]
    return first + sorted(name for name in tables if name not in FIRST)


def _answer(tables: dict[str, Table]) -> Iterator[str]:
    """Sentences with the study's main figures; each says how sure it is."""
    if "task_accuracy" in tables:
        rows = tables["task_accuracy"].frame.to_dict("records")
        n = rows[0]["n_items"] if rows else 0
        tuned = [row for row in rows if row["configuration"] != "frozen"]
        if tuned:
            best = max(tuned, key=lambda row: row["accuracy"])
            close = [row for row in tuned if row["items_high"] >= best["items_low"]]
            yield (
                f"{best['configuration']} answers {_interval(best)} of {n} test examples right, "
                "the highest of the trained configurations; "
                f"the intervals of {len(close) - 1} of the other {len(tuned) - 1} overlap with it."
            )
        for row in rows:
            if row["configuration"] == "frozen":
                yield f"The untrained base model answers {_interval(row)} of them right."
    if "forgetting" in tables:
        yield from _forgotten(tables["forgetting"])


def _interval(row: dict[Hashable, Any]) -> str:
    if row["items_low"] is None or pd.isna(row["items_low"]):
        return f"{row['accuracy']:.0%}"
    return (
        f"{row['accuracy']:.0%} (95 % interval {row['items_low']:.0%} to {row['items_high']:.0%})"
    )


def _forgotten(forgetting: Table) -> Iterator[str]:
    rows = figures.last_steps(forgetting.frame)
    rows = rows[rows["method"] != "frozen"].dropna(subset="low")
    worse = rows[rows["low"] > 0]
    yield (
        f"On general text the loss rose beyond its interval for {len(worse)} of {len(rows)} "
        "trained runs."
    )
    if len(worse):
        most = worse.sort_values("forgetting").iloc[-1]
        yield (
            f"Most was forgotten by {most['configuration']}: {most['forgetting']:+.2f} nats per "
            f"token ({most['low']:+.2f} to {most['high']:+.2f})."
        )


def _neighbours(tables: dict[str, Table]) -> list[dict[str, Any]]:
    """For each prompt and virtual token: its neighbours before and after training, side by side."""
    if "soft_prompt_neighbors" not in tables:
        return []
    frame = tables["soft_prompt_neighbors"].frame
    frame = frame[frame["status"] == "measured"]
    prompts = []
    for (_, name, seed), rows in frame.groupby(["run", "configuration", "seed"], sort=False):
        first, last = rows["step"].min(), rows["step"].max()
        tokens = [
            {
                "position": position,
                "before": list(group[group["step"] == first]["token"]),
                "after": list(group[group["step"] == last]["token"]),
                "cosine": f"{group[group['step'] == last]['cosine'].iloc[0]:.2f}",
                "moved": f"{group[group['step'] == last]['moved'].iloc[0]:.2f}",
            }
            for position, group in rows.groupby("position")
        ]
        kept = sum(token["before"][0] == token["after"][0] for token in tokens)
        prompts.append(
            {"name": f"{name}, seed {seed}", "first": first, "last": last, "tokens": tokens,
             "kept": kept}
        )  # fmt: skip
    return prompts


def _section(data: Table) -> Section:
    frame = data.frame
    left_out: list[str] = []
    if "status" in frame:
        gone = frame[frame["status"] != "measured"]
        left_out = [f"{row.configuration}: {row.reason}" for row in gone.itertuples()]
        frame = frame[frame["status"] == "measured"].drop(columns=["status", "reason"])
    csv = frame.to_csv(index=False).encode()
    frame = frame.dropna(axis="columns", how="all")
    columns = tuple(column for column in data.columns if column.name in frame)
    drawn = [
        Figure(f"{data.name}-{n}", chart.title, _json_in_html(figures.draw(data, chart).to_json()))
        for n, chart in enumerate(data.charts)
    ]
    return Section(
        name=data.name,
        columns=columns,
        header=[column.name for column in columns],
        rows=[
            [_cell(value) for value in row] for row in frame.head(FOLDED).itertuples(index=False)
        ],
        figures=drawn,
        n_rows=len(frame),
        not_applicable=left_out,
        csv=base64.b64encode(csv).decode(),
    )


def _json_in_html(text: str | None) -> str:
    """JSON that can't end the script element it stands in."""
    return (text or "{}").replace("<", "\\u003c")


def _cell(value: Any) -> str:
    if value is None or pd.isna(value):
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, Integral) else str(value)


def _failed(study: Path) -> list[str]:
    records = [json.loads(file.read_text()) for file in sorted((study / "failed").glob("*.json"))]
    return [f"{_what(record)}: {record['error']}" for record in records]


def _what(record: dict[str, Any]) -> str:
    config = record.get("config") or record
    return str(config.get("method", config.get("probe")))


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
        ("machine", f"{machine['cpu_cores']} cores, {machine['machine']}, {machine['system']}"),
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
