"""Written answers: each prompt with the texts of the base and of every configuration's model."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from peftlens.numerics.rounding import number
from peftlens.results.table import Table, measured

SHOWN = 16  # prompts on the page


@dataclass(frozen=True)
class Text:
    """Text of one model.

    Attributes:
        model: base model, or the configuration.
        same: beginning that the base's text has, too.
        other: the rest, which differs.
        score: score of the text; empty if the prompt has none.
    """

    model: str
    same: str
    other: str
    score: str


@dataclass(frozen=True)
class Answers:
    """Texts of all models after one prompt.

    Attributes:
        source: where the prompt comes from: task, general, or own.
        prompt: text before the answer.
        reference: right answer; empty if unknown.
        texts: the base's text, then those of the configurations.
    """

    source: str
    prompt: str
    reference: str
    texts: list[Text]


def answers(tables: dict[str, Table]) -> Iterator[Answers]:
    """Yield the first prompts of the probe `generations`, each with all models' texts.

    Of a configuration's runs the one with the lowest seed is shown.
    """
    if "generations" not in tables:
        return
    frame = measured(tables["generations"].frame)
    if frame.empty:
        return
    first = frame.groupby("configuration", sort=False)["seed"].transform("min")
    frame = frame[frame["seed"] == first]
    groups = frame.groupby(["source", "item"], sort=False)
    for (source, _), rows in list(groups)[:SHOWN]:
        cells = rows.to_dict("records")
        reference = cells[0]["reference"]
        yield Answers(
            source=str(source),
            prompt=cells[0]["prompt"],
            reference="" if pd.isna(reference) else str(reference),
            texts=[
                Text("base model", cells[0]["base"], "", _score(cells[0]["base_score"])),
                *(_of_model(row) for row in cells if row["method"] != "frozen"),
            ],
        )


def _of_model(row: dict) -> Text:
    at = len(row["tuned"]) if pd.isna(row["differs_at"]) else int(row["differs_at"])
    return Text(
        row["configuration"], row["tuned"][:at], row["tuned"][at:], _score(row["score"])
    )  # fmt: skip


def _score(cell: float | None) -> str:
    return "" if pd.isna(cell) else number(cell)
