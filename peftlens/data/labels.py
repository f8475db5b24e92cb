"""Labels of a classification: the classes of a column; labels that look alike are one class."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from peftlens.data.cells import is_whole_float, look
from peftlens.errors import InputError, suggestion

_FREE = 20  # classes; more than this, and than half of the rows, are answers of their own
_FEW = 10  # rows of a class on average; fewer are told
_MOST = 1000  # classes; each example is scored with each


@dataclass(frozen=True)
class Classes:
    """Classes of a column.

    Attributes:
        answers: text of each class with a leading space, as written in answers.
        index: class of each label in the column.
        notes: what a user may not expect, such as labels that were merged.
    """

    answers: tuple[str, ...]
    index: Mapping[str, int]
    notes: tuple[str, ...]


def find_classes(
    counts: Counter[str], written: Mapping[str, str], ids: Sequence[str], source: str
) -> Classes:
    """Group the labels of a column into classes, sorted by their text.

    Args:
        counts: number of rows of each label.
        written: text for each class, where it differs from the class itself.
        ids: names of the classes by id, which may stand for them in `written`; may be empty.
        source: name of the data, for messages.

    Raises:
        InputError: there are too many classes, a class has no text although others have, or two
            keys of `written` look alike.
    """
    whole = all(_is_integer(label) for label in counts)
    groups: dict[str, list[str]] = defaultdict(list)
    for label in sorted(counts):
        groups[_integer(look(label)) if whole else look(label)].append(label)
    rows = counts.total()
    if len(groups) > max(_FREE, rows / 2):
        raise InputError(
            f"the {rows:,} rows of {source} have {len(groups):,} different labels: these look like "
            "free answers; set kind = 'generation' to compare answers as text"
        )
    if len(groups) > _MOST:
        raise InputError(
            f"the labels of {source} are {len(groups):,} classes, and the limit is {_MOST:,}; "
            "give the column with the class as label"
        )
    names = {key: _name(labels, counts, whole) for key, labels in groups.items()}
    texts = _texts(names, written, ids, source) if written else names
    ordered = sorted(groups, key=lambda key: names[key])
    places = dict.fromkeys(look(texts[key]) for key in ordered)  # two may be written alike
    numbers = {place: number for number, place in enumerate(places)}
    first = {look(texts[key]): texts[key] for key in reversed(ordered)}
    return Classes(
        tuple(f" {first[place]}" for place in places),
        {label: numbers[look(texts[key])] for key in ordered for label in groups[key]},
        tuple(_notes(groups, names, counts)),
    )


def _is_integer(label: str) -> bool:
    text = look(label)
    return is_whole_float(text) or text.removeprefix("-").isdecimal()


def _integer(text: str) -> str:
    """Drop the fraction of an integer written as 1.0; only where all labels are integers."""
    return text.partition(".")[0]


def _name(labels: Sequence[str], counts: Counter[str], whole: bool) -> str:
    """Return the most frequent of labels that look alike."""
    name = max(labels, key=lambda label: counts[label]).strip()
    return _integer(name) if whole else name


def _texts(
    names: Mapping[str, str], written: Mapping[str, str], ids: Sequence[str], source: str
) -> dict[str, str]:
    """Return the text of each class."""
    by_look: dict[str, str] = {}
    for key, text in written.items():
        if not text.strip():
            raise InputError(f"labels has no text for {key!r}; write one")
        place = look(key)
        if by_look.setdefault(place, text) != text:
            raise InputError(f"labels has two keys that look like {key!r}; remove one")
    for number, name in enumerate(ids):
        if str(number) in by_look and str(number) not in map(look, ids):
            by_look.setdefault(look(name), by_look[str(number)])
    if unknown := [name for key, name in names.items() if key not in by_look]:
        raise InputError(
            f"label {unknown[0]!r} of {source} is not in labels; "
            + suggestion(unknown[0], written, "it has")
        )
    return {key: by_look[key].strip() for key in names}


def _notes(
    groups: Mapping[str, Sequence[str]], names: Mapping[str, str], counts: Counter[str]
) -> list[str]:
    notes = []
    for key, labels in groups.items():
        if len(labels) > 1:
            listed = ", ".join(f"{label!a} ({counts[label]} rows)" for label in labels)
            notes.append(f"labels that look alike are one class {names[key]!r}: {listed}")
        elif labels[0] != names[key]:
            notes.append(f"the label {labels[0]!r} is written {names[key]!r}")
    rows = counts.total()
    if len(groups) > _FREE / 2 and len(groups) * _FEW > rows:
        notes.append(
            f"{len(groups):,} classes for {rows:,} rows, fewer than {_FEW} rows each: if these are "
            "no classes, give another column as label, or kind = 'generation' to compare answers "
            "as text"
        )
    by_case: dict[str, list[str]] = defaultdict(list)
    for name in names.values():
        by_case[look(name).casefold()].append(name)
    notes += [
        f"labels that differ by case only are {len(one)} classes: {', '.join(map(repr, one))}; "
        "to make them one, give them one text in labels"
        for one in by_case.values()
        if len(one) > 1
    ]
    return notes
