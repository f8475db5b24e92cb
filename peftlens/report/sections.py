"""Tables as the page shows them: cells as text, figures as JSON, all rows as CSV."""

import base64
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import pandas as pd

from peftlens import figures
from peftlens.table import Column, Table

SHOWN = 30  # rows of a table; all of them are in its CSV


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


def section(data: Table) -> Section:
    """The measured rows of a table, its figures, and a line for each run it does not apply to."""
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
        rows=[[_cell(value) for value in row] for row in frame.head(SHOWN).itertuples(index=False)],
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


def neighbours(data: Table) -> list[dict[str, Any]]:
    """Each prompt's tokens with their neighbours, at step 0, if that was saved, and at last."""
    frame = data.frame
    frame = frame[frame["status"] == "measured"]
    prompts = []
    for (_, name, seed), rows in frame.groupby(["run", "configuration", "seed"], sort=False):
        last = rows["step"].max()
        tokens = [_token(group, last) for _, group in rows.groupby("position")]
        known = last > 0 and rows["step"].min() == 0
        kept = sum(token["before"][:1] == token["after"][:1] for token in tokens)
        prompts.append(
            {"name": f"{name}, seed {seed}", "last": last, "tokens": tokens,
             "kept": kept if known else None}
        )  # fmt: skip
    return prompts


def _token(rows: pd.DataFrame, last: int) -> dict[str, Any]:
    after = rows[rows["step"] == last]
    return {
        "position": rows["position"].iloc[0],
        "before": list(rows[rows["step"] == 0]["token"]) if last else [],
        "after": list(after["token"]),
        "cosine": f"{after['cosine'].iloc[0]:.2f}",
        "moved": "–" if pd.isna(after["moved"].iloc[0]) else f"{after['moved'].iloc[0]:.2f}",
    }
