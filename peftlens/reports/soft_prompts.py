"""Soft prompts: nearest tokens of each vector at the last step, with the probe's verdict."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from peftlens.claims import controls
from peftlens.numerics.rounding import number
from peftlens.results.table import Table, last_steps, measured

MARKS = {
    "readable": "✓",
    "displacement readable": "→",
    "start kept": "=",
    "not distinguishable from noise": "~",
}


@dataclass(frozen=True)
class Token:
    """One vector of a prompt, as text.

    Attributes:
        position: index of the vector in the prompt.
        start: initial token of the vector, if any.
        words: nearest tokens, nearest first.
        cosine: cosine with the nearest token.
        displacement: distance from the start, over the length of the start.
        verdict: verdict of `soft_prompt_null`, after a mark; empty where not tested.
        q: q-value of the verdict.
    """

    position: int
    start: str
    words: list[str]
    cosine: str
    displacement: str
    verdict: str
    q: str


@dataclass(frozen=True)
class Prompt:
    """Soft prompt of a run at its last step.

    Attributes:
        name: configuration and seed of the run.
        step: last saved step.
        n_unchanged: number of vectors whose nearest token is still the initial one, if known.
        verdict: verdict on the whole prompt; empty where it was not tested against chance.
        tokens: vectors of the prompt, in order.
        is_control: whether it was trained on shuffled labels.
    """

    name: str
    step: int
    n_unchanged: int | None
    verdict: str
    tokens: list[Token]
    is_control: bool = False


def prompts(tables: dict[str, Table]) -> Iterator[Prompt]:
    """Yield each run's prompt at the end, with nearest tokens by cosine."""
    if "soft_prompt_neighbors" not in tables:
        return
    frame = measured(tables["soft_prompt_neighbors"].frame)
    frame = last_steps(frame[frame["metric"] == "cosine"])
    verdicts = _verdicts(tables.get("soft_prompt_null"))
    shuffled = controls({name: table.frame for name, table in tables.items()})
    for (run, name, seed), rows in frame.groupby(["run", "configuration", "seed"], sort=False):
        of_run = verdicts.get(str(run), {})
        yield Prompt(
            name=f"{name}, seed {seed}",
            step=int(rows["step"].iloc[0]),
            n_unchanged=None
            if rows["nearest_unchanged"].isna().any()
            else int(rows["nearest_unchanged"].sum()),
            verdict=_marked(of_run.get(None)),
            tokens=[_token(row, of_run.get(row["position"])) for row in rows.to_dict("records")],
            is_control=name in shuffled,
        )


def _verdicts(data: Table | None) -> dict[str, dict[int | None, dict[Any, Any]]]:
    """Index the verdicts by run and position; the position of the whole prompt is None."""
    if data is None:
        return {}
    frame = measured(data.frame)
    verdicts: dict[str, dict[int | None, dict[Any, Any]]] = {}
    for row in last_steps(frame[frame["metric"] == "cosine"]).to_dict("records"):
        position = None if pd.isna(row["position"]) else row["position"]
        verdicts.setdefault(row["run"], {})[position] = row
    return verdicts


def _token(row: dict[Any, Any], tested: dict[Any, Any] | None) -> Token:
    return Token(
        position=row["position"],
        start="–" if pd.isna(row["start_token"]) else row["start_token"],
        words=list(row["tokens"]),
        cosine=f"{row['similarity']:z.2f}",
        displacement="–"
        if pd.isna(row["relative_displacement"])
        else f"{row['relative_displacement']:.2f}",
        verdict=_marked(tested),
        q=number(tested.get("q")) if tested else "",
    )


def _marked(tested: dict[Any, Any] | None) -> str:
    if tested is None:
        return ""
    verdict = tested["verdict"]
    return f"{MARKS[verdict]} {verdict}" if verdict in MARKS else verdict
