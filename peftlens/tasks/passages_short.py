"""Shortened running text: the first 30 test texts of `passages`, about 6,400 tokens.

For quick looks: its intervals are three times as wide as those of `passages`.
"""

from dataclasses import dataclass

from peftlens.data.task import Split, Task, build
from peftlens.tasks import passages


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the task.

    Attributes:
        split: shares, sizes and seed of the splits.
    """

    split: Split = Split(max_validation=30, max_test=30)


def load(config: Config) -> Task:
    """Read the texts from the pinned wheel."""
    return build("passages_short", "language_modeling", passages.examples(), config.split)
