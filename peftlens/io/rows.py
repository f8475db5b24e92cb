"""Rows of a data frame, a dataset or a list of dicts, as a JSONL file of the cache.

The file's name is the hash of its text: equal rows are one file, whatever held them.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any
from uuid import UUID

from peftlens.errors import InputError
from peftlens.io.files import cache_dir, sha256_text, write_atomic

if TYPE_CHECKING:
    import pandas as pd

    Rows = pd.DataFrame | Iterable[Mapping[str, Any]]

MOST_ROWS = 1_000_000  # default limit of all sources
_AS_TEXT = (date, time, timedelta, Decimal, UUID, PurePath)


def save_rows(rows: "Rows") -> Path:
    """Write rows to the cache, once.

    Args:
        rows: a pandas.DataFrame, a datasets.Dataset, or any iterable of mappings. Names are written
            for the ids of a dataset's classes.

    Returns:
        The file; its home folder is written `~`, so that the name is the same for every user.

    Raises:
        InputError: they are not rows, two columns have one name, or there are too many.
    """
    names = class_names(rows)
    text = "".join(f"{_line(row, names)}\n" for row in _limited(_mappings(rows)))
    file = cache_dir("rows") / f"{sha256_text(text)[:16]}.jsonl"
    if not file.exists():
        write_atomic(file, text.encode())
    home = Path.home()
    return "~" / file.relative_to(home) if file.is_relative_to(home) else file


def class_names(data: Any) -> dict[str, list[str]]:
    """Return the names of classes by column, of a datasets.Dataset; empty for anything else."""
    features = getattr(data, "features", None)
    return {
        column: list(feature.names)
        for column, feature in (features.items() if isinstance(features, Mapping) else ())
        if type(feature).__name__ == "ClassLabel" and feature.names
    }


def _mappings(rows: Any) -> Iterable[Mapping[str, Any]]:
    if hasattr(rows, "to_dict") and hasattr(rows, "notna"):  # a data frame, without its import
        counts = Counter(map(str, rows.columns))
        if doubled := [name for name, count in counts.items() if count > 1]:
            raise InputError(f"the data frame has several columns named {doubled[0]!r}; rename one")
        return rows.astype(object).where(rows.notna(), None).to_dict("records")
    return rows if isinstance(rows, Iterable) else [rows]


def _limited(rows: Iterable[Any]) -> Iterator[Any]:
    for number, row in enumerate(rows):
        if number == MOST_ROWS:
            raise InputError(
                f"there are more than {MOST_ROWS:,} rows; keep fewer, or write them to a file, and "
                "give file:PATH as task and max_rows"
            )
        yield row


def _line(row: object, names: Mapping[str, list[str]]) -> str:
    """Write a row as JSON; a lone surrogate, which UTF-8 can't hold, is escaped."""
    if not isinstance(row, Mapping):
        raise InputError(
            f"{type(row).__name__} is no row; give a data frame, a datasets.Dataset or a list of "
            "dicts, each from column to value"
        )
    cells = {str(column): _named(value, names.get(column)) for column, value in row.items()}
    if len(cells) < len(row):
        raise InputError(f"a row has two columns of one name: {', '.join(map(repr, row))[:200]}")
    try:
        text = json.dumps(cells, ensure_ascii=False, default=_plain)
        return text if _is_unicode(text) else json.dumps(cells, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:  # circular, deep, or keys not text
        raise InputError(f"a row can't be written as JSON: {error}; give plain values") from error


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _named(value: Any, names: list[str] | None) -> Any:
    """Replace the id of a class by its name, and an id without a name by nothing."""
    if names is None or not isinstance(value, int):
        return value
    return names[value] if 0 <= value < len(names) else None


def _plain(value: Any) -> Any:
    """Convert a value that JSON lacks.

    Arrays and scalars of NumPy become Python's, bytes and dates text. Anything else becomes an
    object with its type, which no task takes for text: its printed form may hold an address.
    """
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, _AS_TEXT):
        return str(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"bytes": value.hex()}
    return {"type": f"{type(value).__module__}.{type(value).__qualname__}"}
