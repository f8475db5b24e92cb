r"""A table of the user's: `file:PATH` reads CSV, JSONL or Parquet with named columns.

Example: `file:reviews.csv` with `template = "{review}\nRating:"` and `label = "stars"`.
"""

import csv
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from peftlens.data.formatting import Columns, Row, examples
from peftlens.data.task import Split, Task, build
from peftlens.errors import InputError

ARGUMENT = "source"


def _csv(path: Path) -> list[Row]:
    """Read a CSV file; every cell is text, and an empty one is missing."""
    csv.field_size_limit(sys.maxsize)  # Python's limit of 128 KB is too low for long texts
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, strict=True)
        rows: list[Row] = []
        for row in reader:
            if None in row:
                raise ValueError(
                    f"line {reader.line_num} has more cells than the header; quote them"
                )
            rows.append(row)
    return rows


def _jsonl(path: Path) -> list[Row]:
    rows: list[Row] = []
    with path.open(encoding="utf-8-sig") as file:  # splitlines would also split at U+2028 in a text
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is not a JSON object")
            rows.append(row)
    return rows


def _parquet(path: Path) -> list[Row]:
    return list(pq.read_table(path).to_pylist())


READERS: dict[str, Callable[[Path], list[Row]]] = {
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}


@dataclass(frozen=True, kw_only=True)
class Config(Columns):
    """Options of the task, in addition to those of `Columns`.

    Attributes:
        source: path of the file, filled in from the task's name.
        split: shares, sizes and seed of the splits.
    """

    source: str = ""
    split: Split = Split()


def load(config: Config) -> Task:
    """Read the file.

    Raises:
        InputError: no such file, not a table, a missing column, or too few rows.
    """
    path = Path(config.source).expanduser()
    if path.suffix not in READERS:
        raise InputError(f"file {str(path)!r} must end in {', '.join(READERS)}")
    if not path.is_file():
        raise InputError(f"no file {str(path)!r}; give a path relative to the current folder")
    if not path.stat().st_size:
        raise InputError(f"file {str(path)!r} is empty")
    try:
        rows = READERS[path.suffix](path)
    except (ValueError, csv.Error) as error:  # bad UTF-8 and pyarrow's errors are ValueErrors
        raise InputError(
            f"file {str(path)!r} can't be read as {path.suffix[1:]}: {error}"
        ) from error
    name = f"file:{config.source}"
    return build(name, config.kind, examples(rows, config, str(path)), config.split)
