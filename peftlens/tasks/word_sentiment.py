"""Sentiment of an English word: positive or negative. About 7,000 words with human ratings.

Source: the VADER lexicon (Hutto & Gilbert 2014, ICWSM), from the wheel vaderSentiment. The class is
the sign of a word's mean valence rating. Emoticons and abbreviations with symbols are left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from peftlens.data.formatting import fill
from peftlens.data.task import Example, HeadKind, Split, Task, build
from peftlens.io import wheels

ANSWERS = (" negative", " positive")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the task.

    Attributes:
        template: the prompt; {text} is the word. By default {text} alone for a head.
        head: classification if a new head predicts the class, the default of encoders.
        split: shares, sizes and seed of the splits.
    """

    template: str | None = None
    head: HeadKind | None = None
    split: Split = Split(max_validation=300, max_test=600)


def load(config: Config) -> Task:
    """Read the lexicon from the pinned wheel."""
    template = config.template or ("{text}" if config.head else "Word: {text}\nSentiment:")
    examples = _examples(template)
    return build("word_sentiment", "classification", examples, config.split, head=config.head)


def _examples(template: str) -> Iterator[Example | str]:
    lexicon = wheels.read(wheels.VADER, "vaderSentiment/vader_lexicon.txt").decode()
    for line in lexicon.splitlines():
        word, rating, *_ = line.split("\t")
        if not word.isalpha():
            yield "not a word"
        else:
            yield Example(fill(template, {"text": word}), ANSWERS, int(float(rating) > 0))
