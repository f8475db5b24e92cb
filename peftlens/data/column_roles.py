"""Column roles: which of two columns is the text and which the label, where one choice is obvious.

Names and values decide: labels recur while texts do not, and texts are no numbers. What the options
name, and columns with the default names `text` and `label`, are not guessed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

from peftlens.data.cells import as_text, unusable
from peftlens.data.conversation import layout_of
from peftlens.data.formatting import Columns, fields_of
from peftlens.io.escaping import visible
from peftlens.io.records import Records

Roles = Mapping[str, str]  # column by its role, text or label
_KINDS = ("classification", "regression", "generation", "language_modeling")
_INDEX_NAMES = frozenset({"", "id", "idx", "index", "unnamed: 0"})  # of columns of row numbers
_NAMES = {
    "text": {
        "article", "body", "comment", "content", "document", "headline", "input", "message", "post",
        "prompt", "question", "query", "review", "sentence", "source", "title", "tweet",
        "utterance",
    },
    "label": {
        "answer", "category", "class", "completion", "intent", "output", "rating", "response",
        "score", "sentiment", "stars", "summary", "tag", "target", "topic",
    },
}  # fmt: skip


def read_with_roles(columns: Columns, read: Callable[[Sequence[str]], Records]) -> Records:
    """Read the rows that the examples need, with obvious columns renamed to `text` and `label`.

    Args:
        columns: options of the task.
        read: reads the rows with the named columns.

    Returns:
        The records, with a note on what was guessed. Where no choice is obvious, their columns keep
        their names, and the message about a missing one asks for the options.
    """
    records = read(columns.used())
    wanted = _wanted(columns, records)
    known = [name for name in _known(columns) if name not in wanted]
    if not wanted or not {*known} <= {*records.columns}:
        return records
    free = [name for name in records.columns if name not in known and not _is_index(name)]
    if len(free) == len({*free}) == len(wanted):
        rows = read([*known, *free])
        choices = [dict(zip(wanted, one, strict=True)) for one in permutations(free)]
        if roles := _obvious(rows, choices, columns):
            return _renamed(rows, roles)
    return replace(records, remedy=_request(wanted))


def _known(columns: Columns) -> list[str]:
    """List the columns of the text and the label by the options and their defaults."""
    texts = ["text"] if columns.template is None else fields_of(columns.template)
    return [*texts, *([] if columns.kind == "language_modeling" else [columns.label])]


def _wanted(columns: Columns, records: Records) -> list[str]:
    """List the roles that no option and no default name fills; none of rows read otherwise."""
    is_other = columns.kind not in _KINDS or columns.pair is not None
    if is_other or records.remedy or layout_of(records.columns):
        return []
    is_default = {"text": columns.template is None, "label": columns.label == "label"}
    return [
        name for name in _known(columns) if is_default.get(name) and name not in records.columns
    ]


def _is_index(name: str) -> bool:
    return name.strip().casefold() in _INDEX_NAMES


def _obvious(rows: Records, choices: Sequence[Roles], columns: Columns) -> Roles | None:
    """Return the choice with the most evidence, if there is some and no other has as much."""
    evidence = [_evidence(rows, roles, columns) for roles in choices]
    most = max(evidence)
    return choices[evidence.index(most)] if most > 0 and evidence.count(most) == 1 else None


def _evidence(rows: Records, roles: Roles, columns: Columns) -> int:
    """Count the signs that columns have these roles; 0 where their values contradict."""
    named = [role for role, column in roles.items() if column.strip().casefold() in _NAMES[role]]
    signs = len(named) + (len(roles) == 1)  # of one role, no other column is left
    texts = _values(rows, roles["text"]) if "text" in roles else []
    if "text" in roles and (not texts or all(map(_is_number, texts))):
        return 0
    if "label" not in roles or columns.kind == "generation":
        return signs
    labels = _values(rows, roles["label"])
    if columns.kind == "regression":
        return signs + 1 if labels and all(map(_is_number, labels)) else 0
    n_classes = len({*labels})
    recurs = n_classes < len(labels) and not (texts and n_classes >= len({*texts}))
    if not recurs and "label" not in named:
        return 0
    return signs + (2 * n_classes <= len(labels))


def _values(rows: Records, column: str) -> list[str]:
    """Return the usable cells of a column as text."""
    texts = (as_text(row.get(column)) for row in rows.rows)
    return [text.strip() for text in texts if not unusable(text)]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _renamed(records: Records, roles: Roles) -> Records:
    """Name the columns by their roles, and note it."""
    names = {column: role for role, column in roles.items()}

    def rename(values: Mapping[str, Any]) -> dict[str, Any]:
        return {names.get(column, column): value for column, value in values.items()}

    listed = ", ".join(f"{role} = {visible(column, keep='')}" for role, column in roles.items())
    return replace(
        records,
        rows=[rename(row) for row in records.rows],
        columns=[names.get(column, column) for column in records.columns],
        class_names=rename(records.class_names),
        notes=(*records.notes, f"Columns: {listed}"),
    )


def _request(wanted: Sequence[str]) -> str:
    """Ask for the options that name the missing columns."""
    options = {
        "text": "template = '{COLUMN}' for the text",
        "label": "label = 'COLUMN' for the label",
    }
    return f"; write {' and '.join(options[role] for role in wanted)}"
