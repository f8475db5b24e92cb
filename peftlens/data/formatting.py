"""Formatting: turn rows with named columns into examples, by a prompt template."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from string import Formatter
from typing import Any

from peftlens.data.task import Example, Kind, unusable
from peftlens.errors import InputError

Row = Mapping[str, Any]
_LETTER = re.compile(r"(?:^|\n)[A-Z]\. ")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Mapping from columns to examples.

    Attributes:
        kind: classification, multiple_choice or language_modeling.
        template: prompt with columns in braces; for language modeling the whole text.
        label: column with the class; for multiple choice, the right option or its 0-based index.
        labels: text for each class, where it differs from the class itself.
        options: for multiple choice, columns with one option each, or one column with a list.
    """

    kind: Kind = "classification"
    template: str = "{text}\nAnswer:"
    label: str = "label"
    labels: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()


def fill(template: str, texts: Mapping[str, str | None]) -> str:
    """Fill in a template: each name in braces is replaced by its text.

    Raises:
        InputError: the template has another name, or its braces do not match.
    """
    try:
        return template.format_map(texts)
    except (KeyError, IndexError, AttributeError, ValueError) as error:
        names = ", ".join(f"{{{name}}}" for name in texts)
        raise InputError(f"template {template!r} can't be filled; it may use {names}") from error


def examples(rows: list[Row], columns: Columns, source: str) -> Iterator[Example | str]:
    """Yield one example per row, or the reason why that row can't be used.

    Raises:
        InputError: a column is missing, or a class is not in `labels` although others are.
    """
    if not rows:
        raise InputError(f"{source} has no rows")
    shown = _names(columns.template)
    if not shown:
        raise InputError(f"template {columns.template!r} uses no column; write one in braces")
    needed = [*shown, *columns.options]
    if columns.kind != "language_modeling":
        needed.append(columns.label)
    if columns.kind == "multiple_choice" and not columns.options:
        raise InputError("multiple_choice needs options: the columns that hold the options")
    present = dict.fromkeys(name for row in rows for name in row)  # JSON rows may lack some
    for name in needed:
        if name not in present:
            raise InputError(f"{source} has no column {name!r}; its columns: {', '.join(present)}")
    classes = _classes(rows, columns, source) if columns.kind == "classification" else {}
    for row in rows:
        yield _example(row, columns, shown, classes)


def _example(
    row: Row, columns: Columns, shown: list[str], classes: dict[str, int]
) -> Example | str:
    texts = {name: _text(row.get(name)) for name in shown}
    if reason := next(filter(None, map(unusable, texts.values())), None):
        return reason
    prompt = fill(columns.template, texts)
    if columns.kind == "language_modeling":
        return Example("", (prompt,))
    label = _text(row.get(columns.label))
    if label is None or unusable(label):
        return "no label"
    if columns.kind == "classification":
        return Example(prompt, _written(classes, columns), classes[label])
    return _choice(prompt, _options(row, columns), row[columns.label])


def _names(template: str) -> list[str]:
    try:
        return [name for _, name, _, _ in Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise InputError(
            f"template {template!r}: {error}; write {{{{ for a literal brace"
        ) from error


def _text(value: Any) -> str | None:
    """Convert a cell to text; None where it is missing."""
    return None if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)


def _classes(rows: Iterable[Row], columns: Columns, source: str) -> dict[str, int]:
    texts = {_text(row.get(columns.label)) for row in rows}
    names = sorted(text for text in texts if text is not None and not unusable(text))
    if columns.labels and (unknown := [name for name in names if name not in columns.labels]):
        raise InputError(
            f"label {unknown[0]!r} of {source} is not in labels, "
            f"which has {', '.join(map(repr, columns.labels))}"
        )
    return {name: index for index, name in enumerate(names)}


def _written(classes: dict[str, int], columns: Columns) -> tuple[str, ...]:
    return tuple(f" {columns.labels.get(name, name)}" for name in classes)


def _options(row: Row, columns: Columns) -> list[str | None]:
    cells = [row.get(name) for name in columns.options]
    if len(cells) == 1 and not isinstance(cells[0], str) and isinstance(cells[0], Iterable):
        cells = list(cells[0])
    return [_text(cell) for cell in cells]


def _choice(prompt: str, options: list[str | None], label: Any) -> Example | str:
    """Build a multiple-choice example; the label is an index, an option, or an index in digits."""
    if len(options) < 2 or any(unusable(option) for option in options):
        return "fewer than two options"
    if len(set(options)) < len(options):
        return "equal options"
    places = set()
    if not isinstance(label, int) and str(label) in options:
        places.add(options.index(str(label)))
    if str(label).isdecimal() and int(label) < len(options):
        places.add(int(label))
    if len(places) != 1:
        return "label is ambiguous" if places else "label is not an option"
    return Example(prompt, tuple(f" {option}" for option in options), places.pop())


def lettered(text: str, template: str) -> Iterator[Example | str]:
    """Yield multiple-choice examples from JSON lines whose options are one text with letters.

    Args:
        text: JSON lines, each with `question`, `options` (one line per option) and `answer`.
        template: template of the prompt, with {question}.
    """
    for line in text.splitlines():
        row = json.loads(line)
        options: list[str | None] = [part.strip() for part in _LETTER.split(row["options"])[1:]]
        (answer,) = _LETTER.split(row["answer"])[1:]
        prompt = fill(template, {"question": row["question"].strip()})
        yield _choice(prompt, options, answer.strip())
