"""Multiple choice: the options of a row, and the right one, named by text, letter or number.

Whether numbers count from 0 or from 1 is in no row alone: the labels of all rows decide, and where
they leave it open, the user is asked.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from peftlens.data.cells import as_text, look, unusable, whole_number
from peftlens.errors import InputError

LabelFormat = Literal["text", "letter", "from_0", "from_1"]
_NUMBERS: tuple[LabelFormat, ...] = ("text", "from_0", "from_1")  # what a number may be
_WORDS: tuple[LabelFormat, ...] = ("text", "letter")  # what any other label may be
_LETTER = re.compile(r"\(?([A-Za-z])[).:]?")
_KEYS = ("label", "key", "id")  # of an option that is an object with a text


@dataclass(frozen=True)
class Question:
    """Options of a row, and its label.

    Attributes:
        options: texts of the options.
        keys: names of the options, such as letters, if the row has them.
        label: cell that names the right option.
        are_numbers: whether the options are numbers, with which a number can be compared.
    """

    options: tuple[str, ...]
    keys: tuple[str, ...]
    label: Any
    are_numbers: bool

    def readings(self) -> dict[LabelFormat, int]:
        """Return the index of the right option by each format in which the label names one."""
        text, number = as_text(self.label), whole_number(self.label)
        found: dict[LabelFormat, int] = {}
        looks = [look(option) for option in self.options]
        if (isinstance(self.label, str) or self.are_numbers) and look(text) in looks:
            found["text"] = looks.index(look(text))
        letter = _LETTER.fullmatch(look(text))
        places: tuple[tuple[LabelFormat, int | None], ...] = (
            ("letter", ord(letter[1].upper()) - ord("A") if letter else None),
            ("from_0", number),
            ("from_1", None if number is None else number - 1),
        )
        for name, index in places:
            if index is not None and 0 <= index < len(self.options):
                found[name] = index
        return found

    @property
    def is_number(self) -> bool:
        """Whether the label is a whole number, or one in digits."""
        return whole_number(self.label) is not None

    def by_key(self) -> int | None:
        """Return the index of the option that has the label as its name."""
        keys, text = [look(key) for key in self.keys], look(as_text(self.label))
        return keys.index(text) if keys.count(text) == 1 else None


def question(cells: Sequence[Any], label: Any) -> Question | str:
    """Read the options of a row, or return the reason why they can't be used.

    Args:
        cells: cells with one option each; or one cell with a list of options, of objects such as
            {"label": "A", "text": "..."}, or an object such as {"text": [...], "label": [...]} or
            {"A": "...", "B": "..."}.
        label: cell that names the right option.
    """
    if len(cells) == 1 and isinstance(cells[0], str):
        return "the options are one text, not a list"
    options, keys = _nested(cells[0]) if len(cells) == 1 else (list(cells), [])
    while options and as_text(options[-1]) is None:  # a question may have fewer options
        options.pop()
    texts = [as_text(option) for option in options]
    if len(texts) < 2:
        return "fewer than two options"
    if reason := next(filter(None, map(unusable, texts)), None):
        return f"an option is {reason}"
    texts = [text.strip() for text in texts]
    if len({look(text) for text in texts}) < len(texts):
        return "equal options"
    if reason := unusable(as_text(label)):
        return "no label" if reason in ("missing", "empty") else f"the label is {reason}"
    if isinstance(label, bool):
        return "the label is true or false, not an option"
    are_numbers = all(isinstance(option, (int, float)) for option in options)
    return Question(tuple(texts), tuple(keys[: len(texts)]), label, are_numbers)


def _nested(cell: Any) -> tuple[list[Any], list[str]]:
    """Return the options in a list or object, and their names if they have some."""
    if isinstance(cell, Mapping):
        lists = {name: value for name, value in cell.items() if isinstance(value, list)}
        texts = lists.get("text")
        keys = next((lists[name] for name in _KEYS if name in lists), [])
        if texts is not None:
            return texts, [str(key) for key in keys] if len(keys) == len(texts) else []
        return [value for value in cell.values() if value is not None], [
            str(key) for key, value in cell.items() if value is not None
        ]
    if not isinstance(cell, Iterable):
        return [], []
    options = list(cell)
    if options and all(isinstance(option, Mapping) and "text" in option for option in options):
        keys = [next((str(one[name]) for name in _KEYS if name in one), "") for one in options]
        return [option["text"] for option in options], keys
    return options, []


def right_options(
    questions: Sequence[Question], label_format: LabelFormat | None, source: str
) -> list[int | str]:
    """Return the index of each question's right option, or the reason why it has none.

    Args:
        questions: questions of a source.
        label_format: how the labels name the option; None to find it from all labels.
        source: name of the data, for messages.

    Raises:
        InputError: the labels can be read in two ways that differ.
    """
    if label_format:
        return [_only(one.readings(), (label_format,)) for one in questions]
    unnamed = [one for one in questions if one.by_key() is None]
    numbers = _formats([one for one in unnamed if one.is_number], _NUMBERS, source)
    words = _formats([one for one in unnamed if not one.is_number], _WORDS, source)
    right: list[int | str] = []
    for one in questions:
        place = one.by_key()
        formats = numbers if one.is_number else words
        right.append(_only(one.readings(), formats) if place is None else place)
    return right


def _only(readings: Mapping[LabelFormat, int], formats: Iterable[LabelFormat]) -> int | str:
    indices = {readings[name] for name in formats if name in readings}
    if len(indices) == 1:
        return indices.pop()
    return "label is ambiguous" if indices else "label is not an option"


def _formats(
    questions: Sequence[Question], formats: Sequence[LabelFormat], source: str
) -> Sequence[LabelFormat]:
    """Return those of the formats in which all labels that name an option can be read.

    Raises:
        InputError: they differ, or numbers count from 1, or no format reads all numbers.
    """
    read = [(one, found) for one in questions if (found := one.readings())]
    complete: list[LabelFormat] = [
        name for name in formats if all(name in found for _, found in read)
    ]
    for one, found in read:
        if len({found[name] for name in complete}) > 1:
            raise _ambiguous(one, found, complete, source)
    if "from_0" in formats and read and complete in ([], ["from_1"]):
        one, found = next((pair for pair in read if "from_0" not in pair[1]), read[0])
        raise _ambiguous(one, found, ("from_1", "from_0"), source)
    return complete or formats


def _ambiguous(
    question: Question,
    readings: Mapping[LabelFormat, int],
    formats: Sequence[LabelFormat],
    source: str,
) -> InputError:
    def meaning(name: LabelFormat) -> str:
        option = question.options[readings[name]] if name in readings else ""
        return repr(option[:40]) if option else "no option"

    ways = " or ".join(f"{meaning(name)} ({name})" for name in formats)
    listed = " or ".join(f"'{name}'" for name in formats)
    return InputError(
        f"the label {question.label!r} of {source} can mean {ways}; write label_format = {listed}"
    )
