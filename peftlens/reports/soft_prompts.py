"""What soft prompts are near: a row for each vector, with the probe's verdict."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from peftlens.numerics.rounding import number
from peftlens.results.table import Table, last_steps, measured

MARKS = {
    "readable": "✓",
    "unchanged from initialization": "=",
    "not distinguishable from noise": "~",
}


@dataclass(frozen=True)
class Token:
    """A vector of a prompt.

    Attributes:
        start: the token that it started at, if it did.
        words: the tokens that it is nearest to.
        cosine: to the nearest.
        moved: how far it has moved, in lengths of its start.
        verdict: what `soft_prompt_null` says of it, with a mark in front; empty where not asked.
        q: of the verdict.
    """

    position: int
    start: str
    words: list[str]
    cosine: str
    moved: str
    verdict: str
    q: str


@dataclass(frozen=True)
class Prompt:
    """A run's prompt at its last step.

    Attributes:
        kept: vectors whose nearest token is still the one that they started with, if known.
        verdict: on the prompt as a whole; empty where it was not tested against chance.
    """

    name: str
    step: int
    kept: int | None
    verdict: str
    tokens: list[Token]


def prompts(tables: dict[str, Table]) -> Iterator[Prompt]:
    """Each prompt's vectors at the end, by cosine."""
    if "soft_prompt_neighbors" not in tables:
        return
    frame = measured(tables["soft_prompt_neighbors"].frame)
    frame = last_steps(frame[frame["metric"] == "cosine"])
    said = _verdicts(tables.get("soft_prompt_null"))
    for (run, name, seed), rows in frame.groupby(["run", "configuration", "seed"], sort=False):
        own = said.get(str(run), {})
        yield Prompt(
            name=f"{name}, seed {seed}",
            step=int(rows["step"].iloc[0]),
            kept=None
            if rows["nearest_unchanged"].isna().any()
            else int(rows["nearest_unchanged"].sum()),
            verdict=_marked(own.get(None)),
            tokens=[_token(row, own.get(row["position"])) for row in rows.to_dict("records")],
        )


def _verdicts(data: Table | None) -> dict[str, dict[int | None, dict[Any, Any]]]:
    """Of each run the rows of every vector, and that of the prompt under None."""
    if data is None:
        return {}
    frame = measured(data.frame)
    found: dict[str, dict[int | None, dict[Any, Any]]] = {}
    for row in last_steps(frame[frame["metric"] == "cosine"]).to_dict("records"):
        position = None if pd.isna(row["position"]) else row["position"]
        found.setdefault(row["run"], {})[position] = row
    return found


def _token(row: dict[Any, Any], said: dict[Any, Any] | None) -> Token:
    return Token(
        position=row["position"],
        start="–" if pd.isna(row["start_token"]) else row["start_token"],
        words=list(row["tokens"]),
        cosine=f"{row['similarity']:.2f}",
        moved="–"
        if pd.isna(row["relative_displacement"])
        else f"{row['relative_displacement']:.2f}",
        verdict=_marked(said),
        q=number(said.get("q")) if said else "",
    )


def _marked(said: dict[Any, Any] | None) -> str:
    if said is None:
        return ""
    verdict = said["verdict"]
    return f"{MARKS[verdict]} {verdict}" if verdict in MARKS else verdict
