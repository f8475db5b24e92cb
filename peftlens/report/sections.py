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
    """For each prompt and virtual token: its neighbours before and after training, side by side."""
    frame = data.frame
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
