"""Data files: rows of CSV, TSV, JSON, JSONL and Parquet files, read up to stated limits.

Only the columns that a task uses are kept. Limits are checked before or while reading, so that a
small file of many rows can't fill the memory.
"""

import codecs
import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from peftlens.errors import InputError, did_you_mean, nearest
from peftlens.io.escaping import visible
from peftlens.io.files import nearest_file
from peftlens.io.rows import MOST_ROWS

_LONGEST_LINE = 16_000_000  # characters
_MOST_CHARACTERS = 1_000_000_000  # in all used cells together
_LARGEST_JSON = 256_000_000  # bytes of a .json file, which is parsed as a whole
_MOST_PARTS = 20  # objects and lists in a row of a .json file, on average
_BATCH = 1024  # rows of a Parquet file that are decoded at a time
_NAMES_SHOWN = 20
# pyarrow raises ArrowException and OSError, and OverflowError for dates that Python lacks
_UNREADABLE = (ValueError, OSError, csv.Error, pa.ArrowException, RecursionError, OverflowError)
_SEPARATORS = {";": '";"', "\t": r'"\t"', "|": '"|"', ",": '","'}


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    r"""How to read a data file.

    Attributes:
        separator: character between the cells of a CSV file; None for a comma, or a tab in .tsv.
        quotes: whether a cell of a CSV file may stand in double quotes.
        encoding: encoding of a text file; UTF-8 may begin with a byte order mark.
        max_rows: largest number of rows.
        used: names of the columns to keep; None keeps all.
    """

    separator: str | None = None
    quotes: bool = True
    encoding: str = "utf-8"
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
        remedy: hint for the message about a missing column.
    """

    name: str
    rows: Sequence[Mapping[str, Any]]
    columns: Sequence[str]
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    remedy: str = ""

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


def read(path: Path, options: ReadOptions) -> Records:
    """Read a data file.

    Raises:
        InputError: no such file, another format, a damaged file, or one beyond a limit.
    """
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise InputError(f"file {str(path)!r} must end in {', '.join(READERS)}")
    if not path.is_file():
        remedy = nearest_file(path) or "give a path relative to the current folder"
        raise InputError(f"no file {str(path)!r}; {remedy}")
    _check_options(path, options)
    if not path.stat().st_size:
        raise InputError(f"file {str(path)!r} is empty")
    try:
        return READERS[suffix](path, options)
    except _UNREADABLE as error:
        raise InputError(
            f"file {str(path)!r} can't be read as {suffix[1:]}: {_reason(error)}"
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "its objects are nested too deeply"
    if isinstance(error, UnicodeError):
        return f"{error}; write its encoding, such as encoding = 'latin-1', 'cp1252' or 'utf-16'"
    return " ".join(visible(str(error)).split())[:300]


def _written(separator: str | None) -> str | None:
    r"""Return the separator; the two characters \t, as literal strings of TOML have, are a tab."""
    return "\t" if separator == r"\t" else separator


def _check_options(path: Path, options: ReadOptions) -> None:
    if options.max_rows < 1:
        raise InputError(f"max_rows={options.max_rows} must be at least 1")
    is_csv = path.suffix.lower() in (".csv", ".tsv")
    separator = _written(options.separator)
    if separator is not None and not is_csv:
        raise InputError(f"separator={separator!r} is for .csv and .tsv, not for {str(path)!r}")
    if separator is not None and (len(separator) != 1 or separator in '"\r\n'):
        raise InputError(
            f"separator={separator!r} must be one character, such as ';' or a tab, and neither a "
            "double quote nor a line break"
        )
    try:
        "".encode(options.encoding)
    except (LookupError, ValueError) as error:
        raise InputError(
            f"encoding={options.encoding!r} is not known; write one such as 'utf-8', 'latin-1' or "
            "'utf-16'"
        ) from error


class _Collector:
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
        if self._characters > _MOST_CHARACTERS:
            raise ValueError(
                f"the used columns hold more than {_MOST_CHARACTERS:,} characters; keep fewer rows"
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


def _open(path: Path, options: ReadOptions, newline: str | None = None) -> IO[str]:
    name = codecs.lookup(options.encoding).name
    encoding = "utf-8-sig" if name == "utf-8" else options.encoding  # Excel writes a mark
    return path.open(newline=newline, encoding=encoding)


def _lines(file: IO[str]) -> Iterator[str]:
    """Yield lines; splitlines would also split at U+2028 in a text.

    Raises:
        ValueError: a line is too long.
    """
    number = 0
    while line := file.readline(_LONGEST_LINE + 1):
        number += 1
        if len(line) > _LONGEST_LINE:
            raise ValueError(
                f"line {number} has more than {_LONGEST_LINE:,} characters; shorten or split it"
            )
        yield line


def _csv(path: Path, options: ReadOptions) -> Records:
    """Read a CSV file; every cell is text, and an empty one is missing."""
    csv.field_size_limit(_LONGEST_LINE)  # Python's limit of 128 KB is too low for long texts
    default = "\t" if path.suffix.lower() == ".tsv" else ","
    separator = given = _written(options.separator) or default
    collector = _Collector(options)
    with _open(path, options, newline="") as file:
        lines = _lines(file)
        first = next(lines, "")
        if first.strip().lower().startswith("sep=") and len(first.strip()) == len("sep=;"):
            separator = given if options.separator else first.strip()[-1]  # as Excel announces it
        else:
            lines = chain([first], lines)
        style = csv.QUOTE_MINIMAL if options.quotes else csv.QUOTE_NONE
        reader = csv.reader(lines, delimiter=separator, strict=True, quoting=style)
        try:
            header = _collect(reader, separator, collector)
        except csv.Error as error:
            hint = "; if double quotes are part of the texts, write quotes = false"
            raise ValueError(
                f"line {reader.line_num}: {error}{hint if options.quotes else ''}"
            ) from error
    remedy = _separator_hint(header, separator)
    return Records(name=str(path), rows=collector.rows, columns=header, remedy=remedy)


def _collect(reader: Any, separator: str, collector: _Collector) -> list[str]:
    """Collect the rows below the header, and return the header."""
    header = [name.strip() for name in next(filter(None, reader), [])]
    for cells in filter(None, reader):
        if len(cells) > len(header):
            raise ValueError(
                f"line {reader.line_num} has more cells than the header; quote them"
                f"{_separator_hint(header, separator)}"
            )
        # a short row lacks its last cells
        collector.add(dict.fromkeys(header) | dict(zip(header, cells, strict=False)))
    return header


def _separator_hint(header: list[str], separator: str) -> str:
    """Name the separator that a header of one column seems to have."""
    others = [one for one in _SEPARATORS if one != separator and len(header) == 1]
    found = max(others, key=lambda one: header[0].count(one), default=separator)
    if found == separator or found not in header[0]:
        return ""
    return f"; if another character separates them, write separator = {_SEPARATORS[found]}"


def _jsonl(path: Path, options: ReadOptions) -> Records:
    collector = _Collector(options)
    columns: dict[str, None] = {}
    with _open(path, options) as file:
        for number, line in enumerate(_lines(file), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line, object_pairs_hook=_object)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
            if not isinstance(row, dict):
                hint = "; a file with one array must end in .json" if line[:1] == "[" else ""
                raise ValueError(f"line {number} is not a JSON object{hint}")
            columns |= dict.fromkeys(row)
            collector.add(row)
    return Records(name=str(path), rows=collector.rows, columns=[*columns])


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object of JSON; a dict of doubled keys would silently keep the last.

    Raises:
        ValueError: a key stands twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        (key, count), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {key[:100]!r} stands {count} times in one object")
    return found


def _json(path: Path, options: ReadOptions) -> Records:
    """Read a JSON file with an array of objects, or one object per line."""
    if (size := path.stat().st_size) > _LARGEST_JSON:
        raise ValueError(
            f"it has {size:,} bytes, and the limit is {_LARGEST_JSON:,}; write one object per line "
            "to a .jsonl file"
        )
    with _open(path, options) as file:
        text = file.read()
    if (parts := text.count("{") + text.count("[")) > _MOST_PARTS * options.max_rows:
        raise ValueError(f"it has {parts:,} objects and lists, and the limit of rows is "
                         f"{options.max_rows:,}; keep fewer rows, or raise max_rows")  # fmt: skip
    try:
        document = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # more than one document: one object per line
            return _jsonl(path, options)
        raise
    if not isinstance(document, list):
        raise ValueError("it is not an array of objects, [{...}, {...}]")
    collector = _Collector(options)
    columns: dict[str, None] = {}
    for number, row in enumerate(document, 1):
        if not isinstance(row, dict):
            raise ValueError(f"entry {number} of its array is not an object")
        columns |= dict.fromkeys(row)
        collector.add(row)
    return Records(name=str(path), rows=collector.rows, columns=[*columns])


def _parquet(path: Path, options: ReadOptions) -> Records:
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        names = list(schema.names)
        ids = _names_in_schema(schema.metadata)
        require_rows(file.metadata.num_rows, options.max_rows)
    texts = [one.name for one in schema if pa.types.is_string(one.type)]
    used = [name for name in dict.fromkeys(options.used or names) if names.count(name) == 1]
    collector = _Collector(options)
    # a dictionary holds a repeated text once, so that its copies take no memory
    with pq.ParquetFile(path, read_dictionary=texts, page_checksum_verification=True) as file:
        _require_decoded_size(file.metadata, used)
        for batch in file.iter_batches(_BATCH, columns=used):
            columns = [_cells(column) for column in batch.columns]
            for cells in zip(*columns, strict=True) if columns else [()] * batch.num_rows:
                collector.add(dict(zip(batch.schema.names, cells, strict=True)))
    return Records(name=str(path), rows=collector.rows, columns=names, class_names=ids)


def _require_decoded_size(metadata: pq.FileMetaData, used: Sequence[str]) -> None:
    """Refuse used columns that are too large after decompression.

    Raises:
        ValueError: they are.
    """
    size = 0
    for group in range(metadata.num_row_groups):
        chunks = metadata.row_group(group)
        for index in range(chunks.num_columns):
            chunk = chunks.column(index)
            if chunk.path_in_schema.partition(".")[0] in used:
                size += chunk.total_uncompressed_size
    if size > 4 * _MOST_CHARACTERS:  # bytes of at most four per character
        raise ValueError(
            f"its used columns have {size:,} bytes, and the limit is {4 * _MOST_CHARACTERS:,}; "
            "keep fewer rows"
        )


def _cells(column: pa.Array) -> Sequence[Any]:
    """Convert a column to Python's values, each text of a dictionary once."""
    if isinstance(column, pa.DictionaryArray):
        texts = column.dictionary.to_pylist()
        return [None if index is None else texts[index] for index in column.indices.to_pylist()]
    return column.to_pylist()


def _names_in_schema(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """Return the names of classes by column, as datasets writes them into a Parquet file."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return {
            column: feature["names"]
            for column, feature in features.items()
            if feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list)
        }
    except (KeyError, ValueError, TypeError, AttributeError):  # no such metadata
        return {}


READERS: dict[str, Callable[[Path, ReadOptions], Records]] = {
    ".csv": _csv,
    ".tsv": _csv,
    ".json": _json,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
