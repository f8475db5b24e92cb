"""Header line of a table: signs that it is no line of column names."""

import re
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

ROWS_COMPARED = 1000  # first rows of a table that are compared with its header
_COLUMNS_COMPARED = 100
_LONGEST_NAME = 100  # characters
_SEPARATORS = {";": ("semicolons", '";"'), "\t": ("tabs", r'"\t"'), "|": ("bars", '"|"'),
               ",": ("commas", '","')}  # fmt: skip
_NUMBER = re.compile(r"[-+]?\d+([.,]\d+)?")
_SENTENCE = re.compile(r"\w.*\w[.!?]$", re.DOTALL)


def separator_hint(header: Sequence[str], separator: str) -> str:
    """Name the separator that a header of one column seems to have; empty if there is none."""
    others = [one for one in _SEPARATORS if one != separator and len(header) == 1]
    found = max(others, key=lambda one: header[0].count(one), default=separator)
    if found == separator or found not in header[0]:
        return ""
    name, written = _SEPARATORS[found]
    return f"; its cells look separated by {name}: write separator = {written}"


def missing_header_hint(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Say that the first line looks like data; empty if it may be names of columns.

    Names are no numbers, sentences or long texts, and are no cells of their own columns.

    Args:
        header: cells of the first line.
        rows: cells of the first rows below it.
    """
    names = [*header[:_COLUMNS_COMPARED]]
    texts = [[*map(str, row[: len(names)])] for row in rows]
    columns = zip_longest(*(row for row in texts if row != names))
    is_data = any(map(_is_value, names)) or any(
        name and name in column for name, column in zip(names, columns, strict=False)
    )
    if not is_data:
        return ""
    example = "text,label" if len(header) == 2 else "text,..."
    return (
        "; its first line looks like data, not like names of columns: write their names above it, "
        f"such as {example}"
    )


def _is_value(name: str) -> bool:
    is_text = len(name) > _LONGEST_NAME or _SENTENCE.match(name) is not None
    return is_text or _NUMBER.fullmatch(name) is not None
