"""Data files: rows of CSV, TSV, JSON, JSONL, Parquet and Excel files, read up to stated limits.

Limits are checked before or while reading, so that a small file of many rows can't fill the memory.
"""

import csv
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from peftlens.errors import InputError
from peftlens.io.csv_file import read_csv, written_separator
from peftlens.io.escaping import visible
from peftlens.io.files import nearest_file
from peftlens.io.json_file import read_json, read_jsonl
from peftlens.io.parquet_file import read_parquet
from peftlens.io.records import ReadOptions, Records
from peftlens.io.text_file import encoding_hint, suffix_of
from peftlens.io.xlsx_file import read_xlsx

_SEPARATED = (".csv", ".tsv", ".txt")
_TEXT = (*_SEPARATED, ".json", ".jsonl")
# pyarrow raises ArrowException and OSError, and OverflowError for dates that Python lacks
_UNREADABLE = (ValueError, OSError, csv.Error, pa.ArrowException, RecursionError, OverflowError,
               EOFError, zlib.error)  # fmt: skip
_FIRST_BYTES = {  # of formats that people give another name, with their own suffix
    b"PK\x03\x04": (".xlsx", "a .xlsx file or another archive"),
    b"\x1f\x8b": (".gz", "a compressed .gz file"),
    b"PAR1": (".parquet", "a .parquet file"),
    b"\xd0\xcf\x11\xe0": (
        ".xls",
        "an old .xls file or a workbook with a password; save it as .xlsx or .csv without one",
    ),
}


def read(path: Path, options: ReadOptions) -> Records:
    """Read a data file; a text file may be compressed, with .gz after its name.

    Raises:
        InputError: no such file, another format, a damaged file, or one beyond a limit.
    """
    suffix = suffix_of(path)
    if suffix not in READERS:
        hint = "; save the workbook as .xlsx" if suffix in (".xls", ".xlsb", ".ods") else ""
        raise InputError(f"file {str(path)!r} must end in {', '.join(READERS)}{hint}")
    if not path.is_file():
        remedy = nearest_file(path) or "give a path relative to the current folder"
        raise InputError(f"no file {str(path)!r}; {remedy}")
    _check_options(path, suffix, options)
    if not path.stat().st_size:
        raise InputError(f"file {str(path)!r} is empty")
    try:
        _check_content(path)
        return READERS[suffix](path, options)
    except InputError:
        raise
    except _UNREADABLE as error:
        raise InputError(
            f"file {str(path)!r} can't be read as {suffix[1:]}: {_reason(error)}"
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "its objects are nested too deeply"
    text = " ".join(visible(str(error)).split())[:300]
    return f"{text}; {encoding_hint(error)}" if isinstance(error, UnicodeError) else text


def _check_content(path: Path) -> None:
    """Refuse a file whose first bytes are those of another format than its name says.

    Raises:
        ValueError: they are.
    """
    with path.open("rb") as file:
        first = file.read(4)
    for start, (suffix, name) in _FIRST_BYTES.items():
        if first.startswith(start) and path.suffix.lower() != suffix:
            raise ValueError(f"its content is that of {name}")


def _check_options(path: Path, suffix: str, options: ReadOptions) -> None:
    if options.max_rows < 1:
        raise InputError(f"max_rows={options.max_rows} must be at least 1")
    separator = written_separator(options.separator)
    if separator is not None and suffix not in _SEPARATED:
        listed = ", ".join(_SEPARATED)
        raise InputError(f"separator={separator!r} is for {listed}, not for {str(path)!r}")
    if separator is not None and (len(separator) != 1 or separator in '"\r\n'):
        raise InputError(
            f"separator={separator!r} must be one character, such as ';' or a tab, and neither a "
            "double quote nor a line break"
        )
    if options.sheet is not None and suffix != ".xlsx":
        raise InputError(f"sheet={options.sheet!r} is for .xlsx, not for {str(path)!r}")
    if path.suffix.lower() == ".gz" and suffix not in _TEXT:
        raise InputError(f"decompress {str(path)!r}; only {', '.join(_TEXT)} may end in .gz")
    try:
        "".encode(options.encoding)
    except (LookupError, ValueError) as error:
        raise InputError(
            f"encoding={options.encoding!r} is not known; write one such as 'utf-8', 'latin-1' or "
            "'utf-16'"
        ) from error


READERS: dict[str, Callable[[Path, ReadOptions], Records]] = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".txt": read_csv,
    ".json": read_json,
    ".jsonl": read_jsonl,
    ".parquet": read_parquet,
    ".xlsx": read_xlsx,
}
