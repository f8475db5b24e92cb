"""Rows with named columns, collected up to stated limits.

Only the columns that a task uses are kept, so that a large file takes the memory of what is used.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from peftlens.errors import InputError, did_you_mean, nearest
from peftlens.io.escaping import visible
from peftlens.io.rows import MOST_ROWS

MOST_CHARACTERS = 1_000_000_000  # in all used cells together
_NAMES_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    r"""How to read a data file.

    Attributes:
        separator: character between the cells of a CSV file; None for a comma, or a tab in .tsv.
        quotes: whether a cell of a CSV file may stand in double quotes.
        encoding: encoding of a text file; UTF-8 may begin with a byte order mark.
        sheet: name of the sheet of a workbook; None for the only one that is not empty.
        max_rows: largest number of rows.
        used: names of the columns to keep; None keeps all.
    """

    separator: str | None = None
    quotes: bool = True
    encoding: str = "utf-8"
    sheet: str | None = None
    max_rows: int = MOST_ROWS
    used: Sequence[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Records:
    """Rows with named columns.

    Attributes:
        name: name of the source, for messages.
        rows: the used cells of each row, by column.
        columns: names of all columns, as often as they occur.
        class_names: names of the classes of columns that hold class ids, by column.
        remedy: hint for the message about a missing column; empty if the names look right.
        notes: what a user may not expect of the rows.
    """

    name: str
    rows: Sequence[Mapping[str, Any]]
    columns: Sequence[str]
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    remedy: str = ""
    notes: tuple[str, ...] = ()

    def require_columns(self, names: Iterable[str]) -> None:
        """Refuse columns that are missing or occur twice.

        Raises:
            InputError: such a column; the message lists the present ones.
        """
        counts = Counter(self.columns)
        for name in names:
            if not counts[name]:
                raise InputError(
                    f"{self.name} has no column {name!r}; {self._columns_like(name)}{self.remedy}"
                )
            if counts[name] > 1:
                raise InputError(
                    f"{self.name} has {counts[name]} columns named {name!r}; rename all but one"
                )

    def _columns_like(self, name: str) -> str:
        """Return the nearest columns and then the others, as far as they fit into a line."""
        columns = {*self.columns}
        question = visible(did_you_mean(nearest(name, columns)))
        shown = list(dict.fromkeys(self.columns))[:_NAMES_SHOWN]
        meant = f"{question} " if question else ""
        more = ", ..." if len(columns) > len(shown) else ""
        return f"{meant}its columns: {', '.join(visible(one[:100]) for one in shown)}{more}"


class Collector:
    """Rows read so far, within the limits."""

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self._characters = 0
        self.rows: list[Mapping[str, Any]] = []

    def add(self, row: Mapping[str, Any]) -> None:
        """Keep the used cells of a row.

        Raises:
            ValueError: a limit is exceeded.
        """
        used = self._options.used
        kept = row if used is None else {name: row[name] for name in used if name in row}
        self._characters += _characters(kept)
        self.rows.append(kept)
        require_rows(len(self.rows), self._options.max_rows, at_least=True)
        if self._characters > MOST_CHARACTERS:
            raise ValueError(
                f"the used columns hold more than {MOST_CHARACTERS:,} characters; keep fewer rows"
            )


def _characters(cell: Any) -> int:
    """Count the characters of all texts in a cell, list or object."""
    if isinstance(cell, str):
        return len(cell)
    if isinstance(cell, Mapping):
        return sum(map(_characters, cell.values()))
    return sum(map(_characters, cell)) if isinstance(cell, list) else 0


def require_rows(number: int, limit: int, *, at_least: bool = False) -> None:
    """Refuse more rows than the limit.

    Raises:
        ValueError: there are more.
    """
    if number > limit:
        amount = f"more than {limit:,}" if at_least else f"{number:,}"
        raise ValueError(
            f"it has {amount} rows, and the limit is {limit:,}; keep fewer rows, or raise max_rows"
        )
