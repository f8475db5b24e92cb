"""Tables as the page shows them: cells as text, figures as JSON, all rows as CSV."""

import base64
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import pandas as pd

from peftlens import figures
from peftlens.table import Column, Table

SHOWN = 30  # rows of a table; all of them are in its CSV
MOST = 1000  # rows of a CSV, where leaving out earlier checkpoints helps: a page is for reading


@dataclass(frozen=True)
class Figure:
    """A drawing on the page: an id, what it shows, and Plotly's description of it as JSON."""

    id: str
    title: str
    spec: str


@dataclass(frozen=True)
class Section:
    """One table with its figures.

    Attributes:
        left_in_file: rows of earlier checkpoints that only the table's own file has.
    """

    name: str
    columns: tuple[Column, ...]
    header: list[str]
    rows: list[list[str]]
    figures: list[Figure]
    n_rows: int
    left_in_file: int
    not_applicable: list[str]
    csv: str


def section(data: Table) -> Section:
    """The measured rows of a table, its figures, and a line for each run it does not apply to."""
    frame = data.frame
    left_out: list[str] = []
    if "status" in frame:
        gone = frame[frame["status"] != "measured"]
        left_out = [f"{row.configuration}: {row.reason}" for row in gone.itertuples()]
        frame = frame[frame["status"] == "measured"].drop(columns=["status", "reason"])
    measured = len(frame)
    if measured > MOST and "step" in frame:
        frame = figures.last_steps(frame)
    csv = frame.to_csv(index=False).encode()
    frame = frame.dropna(axis="columns", how="all")
    columns = tuple(column for column in data.columns if column.name in frame)
    titled = [pair for chart in data.charts for pair in figures.draw(data, chart).items()]
    drawn = [
        Figure(f"{data.name}-{n}", title, _json_in_html(figure.to_json()))
        for n, (title, figure) in enumerate(titled)
    ]
    return Section(
        name=data.name,
        columns=columns,
        header=[column.name for column in columns],
        rows=[[_cell(value) for value in row] for row in frame.head(SHOWN).itertuples(index=False)],
        figures=drawn,
        n_rows=len(frame),
        left_in_file=measured - len(frame),
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


def neighbours(tables: dict[str, Table]) -> list[dict[str, Any]]:
    """Each prompt's vectors at the end: their nearest tokens, their start, and the verdict."""
    if "soft_prompt_neighbors" not in tables:
        return []
    frame = tables["soft_prompt_neighbors"].frame
    frame = frame[(frame["status"] == "measured") & (frame["metric"] == "cosine")]
    words = _verdicts(tables.get("soft_prompt_null"))
    prompts = []
    for (run, name, seed), rows in frame.groupby(["run", "configuration", "seed"], sort=False):
        last = rows[rows["step"] == rows["step"].max()]
        said = words.get(str(run), {})
        prompts.append(
            {
                "name": f"{name}, seed {seed}",
                "last": last["step"].iloc[0],
                "kept": None if last["kept"].isna().any() else int(last["kept"].sum()),
                "verdict": said.get(None),
                "tokens": [
                    _token(row, said.get(row["position"])) for row in last.to_dict("records")
                ],
            }
        )
    return prompts


def _verdicts(data: Table | None) -> dict[str, dict[int | None, str]]:
    """Of each run, the verdict on every vector at the last step, and on the prompt under None."""
    if data is None:
        return {}
    frame = data.frame[(data.frame["status"] == "measured") & (data.frame["metric"] == "cosine")]
    found: dict[str, dict[int | None, str]] = {}
    for row in figures.last_steps(frame).to_dict("records"):
        position = None if pd.isna(row["position"]) else row["position"]
        found.setdefault(row["run"], {})[position] = row["verdict"]
    return found


def _token(row: dict[Any, Any], verdict: str | None) -> dict[str, Any]:
    return {
        "position": row["position"],
        "start": "–" if pd.isna(row["start_token"]) else row["start_token"],
        "words": row["tokens"].split(),
        "cosine": f"{row['similarity']:.2f}",
        "moved": "–" if pd.isna(row["moved"]) else f"{row['moved']:.2f}",
        "verdict": verdict,
    }
