"""From rows with named columns, whatever file they came from, to examples."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from string import Formatter
from typing import Any

from peftlens.dataset import Example, Kind, unusable
from peftlens.errors import BadInput

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns make an example.

    Attributes:
        kind: classification, multiple_choice or language_modelling.
        template: the prompt, with columns in braces; for language modelling the whole text.
        label: column with the class; for multiple choice, the right option or its 0-based index.
        labels: what to write for a class, where that is not the class itself.
        options: multiple choice only: columns with one option each, or one column with a list.
    """

    kind: Kind = "classification"
    template: str = "{text}\nAnswer:"
    label: str = "label"
    labels: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()


def examples(rows: list[Row], columns: Columns, source: str) -> Iterator[Example | str]:
    """One example a row, or the reason why that row can't be used.

    Raises:
        BadInput: a column is missing, or a class is not in `labels` although others are.
    """
    if not rows:
        raise BadInput(f"{source} has no rows")
    shown = [name for _, name, _, _ in Formatter().parse(columns.template) if name is not None]
    if not shown:
        raise BadInput(f"template {columns.template!r} shows no column; write one in braces")
    needed = [*shown, *columns.options]
    if columns.kind != "language_modelling":
        needed.append(columns.label)
    if columns.kind == "multiple_choice" and not columns.options:
        raise BadInput("multiple_choice needs options: the columns that hold the options")
    for name in needed:
        if name not in rows[0]:
            raise BadInput(f"{source} has no column {name!r}; its columns: {', '.join(rows[0])}")
    classes = _classes(rows, columns, source) if columns.kind == "classification" else {}
    for row in rows:
        yield _example(row, columns, shown, classes)


def _example(
    row: Row, columns: Columns, shown: list[str], classes: dict[str, int]
) -> Example | str:
    texts = {name: _text(row[name]) for name in shown}
    if reason := next(filter(None, map(unusable, texts.values())), None):
        return reason
    prompt = columns.template.format_map(texts)
    if columns.kind == "language_modelling":
        return Example("", (prompt,))
    if unusable(label := _text(row[columns.label])):
        return "no label"
    if columns.kind == "classification":
        return Example(prompt, _written(classes, columns), classes[str(label)])
    return _choice(prompt, _options(row, columns), str(label))


def _text(value: Any) -> str | None:
    """A cell as text; pandas' missing values are None."""
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return None if missing else str(value)


def _classes(rows: Iterable[Row], columns: Columns, source: str) -> dict[str, int]:
    found = sorted({str(row[columns.label]) for row in rows if not _blank(row[columns.label])})
    if columns.labels and (unknown := [name for name in found if name not in columns.labels]):
        raise BadInput(
            f"label {unknown[0]!r} of {source} is not in labels; "
            f"known: {', '.join(map(repr, columns.labels))}"
        )
    return {name: index for index, name in enumerate(found)}


def _blank(value: Any) -> bool:
    return unusable(_text(value)) is not None


def _written(classes: dict[str, int], columns: Columns) -> tuple[str, ...]:
    return tuple(f" {columns.labels.get(name, name)}" for name in classes)


def _options(row: Row, columns: Columns) -> list[str | None]:
    cells = [row[name] for name in columns.options]
    if len(cells) == 1 and not isinstance(cells[0], str) and isinstance(cells[0], Iterable):
        cells = list(cells[0])
    return [_text(cell) for cell in cells]


def _choice(prompt: str, options: list[str | None], label: str) -> Example | str:
    if len(options) < 2 or any(unusable(option) for option in options):
        return "fewer than two options"
    answers = tuple(f" {option}" for option in options)
    if label in options:
        return Example(prompt, answers, options.index(label))
    if label.isdecimal() and int(label) < len(options):
        return Example(prompt, answers, int(label))
    return "label is no option"
