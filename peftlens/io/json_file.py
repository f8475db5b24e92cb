"""JSON files: an array of objects, an object of columns, or one object per line."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from peftlens.io.records import Collector, ReadOptions, Records
from peftlens.io.text_file import lines, open_text

_LARGEST = 256_000_000  # characters of a .json file, which is parsed as a whole
_MOST_PARTS = 20  # objects and lists in a row of a .json file, on average


def read_jsonl(path: Path, options: ReadOptions) -> Records:
    """Read a file with one JSON object per line; empty lines are skipped.

    Raises:
        ValueError: a line is no JSON object, or a limit is exceeded.
    """
    collector = Collector(options)
    columns: dict[str, None] = {}
    with open_text(path, options) as file:
        for number, line in enumerate(lines(file), 1):
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


def read_json(path: Path, options: ReadOptions) -> Records:
    """Read an array of objects, an object with a list for each column, or one object per line.

    Raises:
        ValueError: it is none of these, or a limit is exceeded.
    """
    with open_text(path, options) as file:
        text = file.read(_LARGEST + 1)
    if len(text) > _LARGEST:
        raise ValueError(
            f"it has more than {_LARGEST:,} characters, the limit; write one object per line to a "
            ".jsonl file"
        )
    if (parts := text.count("{") + text.count("[")) > _MOST_PARTS * options.max_rows:
        raise ValueError(f"it has {parts:,} objects and lists, and the limit of rows is "
                         f"{options.max_rows:,}; keep fewer rows, or raise max_rows")  # fmt: skip
    try:
        document = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # more than one document: one object per line
            return read_jsonl(path, options)
        raise
    rows = _rows_of_columns(document) if isinstance(document, dict) else document
    if not isinstance(rows, list):
        raise ValueError("it is not an array of objects, [{...}, {...}]")
    return _records(path, rows, options)


def _records(path: Path, rows: Iterable[Any], options: ReadOptions) -> Records:
    collector = Collector(options)
    columns: dict[str, None] = {}
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise ValueError(f"entry {number} of its array is not an object")
        columns |= dict.fromkeys(row)
        collector.add(row)
    return Records(name=str(path), rows=collector.rows, columns=[*columns])


def _rows_of_columns(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of {"text": [...], "label": [...]}, or of objects with equal keys.

    The latter is what pandas writes: {"text": {"0": ..., "1": ...}, "label": {...}}.

    Raises:
        ValueError: an entry is no list, or they differ in length or keys.
    """
    kinds = {type(one) for one in columns.values()}
    if kinds not in ({list}, {dict}) or _is_wrapped(columns):
        key = next((key for key, one in columns.items() if isinstance(one, list)), None)
        hint = "" if key is None else f"; write the list at its key {key[:100]!r} alone"
        raise ValueError(
            'it is neither an array of objects, [{...}, {...}], nor an object of columns, {"text": '
            f'[...], "label": [...]}}{hint}'
        )
    if kinds == {dict}:
        if len({tuple(one) for one in columns.values()}) > 1:
            raise ValueError("the objects of its columns have different keys")
        columns = {name: [*one.values()] for name, one in columns.items()}
    lengths = {name: len(one) for name, one in columns.items()}
    if len({*lengths.values()}) > 1:
        listed = ", ".join(f"{name[:100]!r} {count:,}" for name, count in [*lengths.items()][:5])
        raise ValueError(f"the lists of its columns have different lengths: {listed}")
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def _is_wrapped(columns: Mapping[str, Any]) -> bool:
    """Whether the only entry is a list of objects, such as {"data": [{...}, {...}]}."""
    (first, *others) = columns.values()
    return isinstance(first, list) and not others and any(isinstance(one, dict) for one in first)
