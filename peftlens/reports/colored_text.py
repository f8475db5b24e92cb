"""Colored text: passages with each token's divergence from the base, of the probe `divergence`."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from peftlens.numerics.rounding import number
from peftlens.results.table import Table, measured

LEVELS = (0.01, 0.1, 0.5, 1.0, 2.0)  # divergences at which the color changes, nats
MOST = 24  # passages on a page, which have about 40 kB each
_LINE_BREAK = "<U+000A>"  # as the probe writes it
_KINDS = {"general": "general text", "task": "the task's text", "own": "own text"}


@dataclass(frozen=True)
class ColoredToken:
    """One token of a passage.

    Attributes:
        text: text of the token.
        level: number of the color, from 0, the weakest.
        hover: the divergence, and what both models expected.
        starts_line: whether a text, or a line of it, begins here.
        before: text in front of it that nothing predicts: the first token of all.
    """

    text: str
    level: int
    hover: str
    starts_line: bool
    before: str


@dataclass(frozen=True)
class Passage:
    """Passage of one kind of text, read by one run's model and its base.

    Attributes:
        name: configuration and seed of the run, and kind of text.
        finding: mean divergence and the token with the largest one, as a sentence.
        tokens: tokens in order.
    """

    name: str
    finding: str
    tokens: list[ColoredToken]


def passages(tables: dict[str, Table]) -> Iterator[Passage]:
    """Yield the passages of the first runs, kind by kind of text."""
    if "divergence" not in tables:
        return
    frame = measured(tables["divergence"].frame)
    frame = frame[frame["part"] == "passage"]
    groups = frame.groupby(["run", "configuration", "seed", "text"], sort=False)
    for (_, name, seed, kind), rows in [*groups][:MOST]:  # pyright: ignore[reportGeneralTypeIssues]
        title = f"{name}, seed {seed}: {_KINDS[str(kind)]}"
        yield Passage(title, _finding(rows), [*_tokens(rows)])


def _finding(rows: pd.DataFrame) -> str:
    largest = rows.iloc[int(rows["kl"].argmax())]
    strong = int((rows["kl"] >= LEVELS[3]).sum())
    return (
        f"{len(rows)} tokens: mean {number(rows['kl'].mean())} nats, {strong} of at least "
        f"{LEVELS[3]:g} nat; the largest, {number(largest['kl'])}, is at {largest['token']}: the "
        f"base expects {largest['base_expects']}; the tuned model {largest['tuned_expects']}."
    )


def _tokens(rows: pd.DataFrame) -> Iterator[ColoredToken]:
    line, broken = None, False
    for row in rows.to_dict("records"):
        text = _shown(row["token"])
        yield ColoredToken(
            text=text,
            level=bisect_right(LEVELS, row["kl"]),
            hover=(
                f"{number(row['kl'])} nats\nbase: {row['base_expects']}\n"
                f"tuned: {row['tuned_expects']}\nthis token: base "
                f"{number(row['base_probability'])}, tuned {number(row['tuned_probability'])}"
            ),
            starts_line=broken or line not in (None, row["line"]),
            before="" if line == row["line"] else _shown(row["context"]),
        )
        line, broken = row["line"], text.endswith("↵")


def _shown(text: str) -> str:
    return text.replace("␣", " ").replace(_LINE_BREAK, "↵")
