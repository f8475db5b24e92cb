"""Rows of a data frame, a dataset or a list of dicts, as a JSONL file of the cache.

The file's name is the hash of its text: equal rows are one file, whatever held them.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftlens.errors import InputError
from peftlens.io.files import cache_dir, sha256_text, write_atomic

if TYPE_CHECKING:
    import pandas as pd

    Rows = pd.DataFrame | Iterable[Mapping[str, Any]]


def save_rows(rows: "Rows") -> Path:
    """Write rows to the cache, once.

    Args:
        rows: a pandas.DataFrame, a datasets.Dataset, or any iterable of mappings.

    Returns:
        The file; its home folder is written `~`, so that the name is the same for every user.

    Raises:
        InputError: they are not rows.
    """
    text = "".join(f"{_line(row)}\n" for row in _mappings(rows))
    file = cache_dir("rows") / f"{sha256_text(text)[:16]}.jsonl"
    data = text.encode()
    if not (file.is_file() and file.read_bytes() == data):  # missing, cut or changed
        write_atomic(file, data)
    home = Path.home()
    return "~" / file.relative_to(home) if file.is_relative_to(home) else file


def _mappings(rows: Any) -> Iterable[Mapping[str, Any]]:
    if hasattr(rows, "to_dict") and hasattr(rows, "notna"):  # a data frame, without its import
        return rows.astype(object).where(rows.notna(), None).to_dict("records")
    return rows if isinstance(rows, Iterable) else [rows]


def _line(row: object) -> str:
    if not isinstance(row, Mapping):
        raise InputError(
            f"{type(row).__name__} is no row; give a data frame, a datasets.Dataset or a list of "
            "dicts, each from column to value"
        )
    return json.dumps(dict(row), ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    """Arrays and scalars of NumPy as Python has them; anything else as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
