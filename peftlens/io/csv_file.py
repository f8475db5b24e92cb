"""CSV files: lines of cells below a line of column names; every cell is text."""

import csv
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from peftlens.io.header_line import ROWS_COMPARED, missing_header_hint, separator_hint
from peftlens.io.records import Collector, ReadOptions, Records
from peftlens.io.text_file import LONGEST_LINE, lines, open_text, suffix_of


def read_csv(path: Path, options: ReadOptions) -> Records:
    """Read a CSV file; an empty cell is missing, and a row may lack its last cells.

    Raises:
        ValueError: it can't be parsed, or exceeds a limit.
    """
    csv.field_size_limit(LONGEST_LINE)  # Python's limit of 128 KB is too low for long texts
    collector = Collector(options)
    with open_text(path, options, newline="") as file:
        separator, rest = _separator(lines(file), suffix_of(path), options)
        style = csv.QUOTE_MINIMAL if options.quotes else csv.QUOTE_NONE
        reader = csv.reader(rest, delimiter=separator, strict=True, quoting=style)
        try:
            header, hint = _collect(reader, separator, collector)
        except csv.Error as error:
            quotes = "; if double quotes are part of the texts, write quotes = false"
            raise ValueError(
                f"line {reader.line_num}: {error}{quotes if options.quotes else ''}"
            ) from error
    return Records(name=str(path), rows=collector.rows, columns=header, remedy=hint)


def written_separator(separator: str | None) -> str | None:
    r"""Return the separator; the two characters \t, as literal strings of TOML have, are a tab."""
    return "\t" if separator == r"\t" else separator


def _separator(text: Iterator[str], suffix: str, options: ReadOptions) -> tuple[str, Iterator[str]]:
    """Return the separator and the lines, without the line by which Excel announces it.

    Raises:
        ValueError: a .txt file, without a separator.
    """
    given, first = written_separator(options.separator), next(text, "")
    if first.strip().lower().startswith("sep=") and len(first.strip()) == len("sep=;"):
        return given or first.strip()[-1], text
    if not given and suffix == ".txt":
        hint = separator_hint([first], "")
        raise ValueError(
            f"it is a table with an unknown separator{hint}"
            if hint
            else r'its cells need a separator: write it, such as separator = "\t"'
        )
    return given or ("\t" if suffix == ".tsv" else ","), chain([first], text)


def _collect(reader: Any, separator: str, collector: Collector) -> tuple[list[str], str]:
    """Collect the rows below the header; return the header, and what may be wrong with it.

    Raises:
        ValueError: a row has more cells than the header.
    """
    header = [name.strip() for name in next(filter(None, reader), [])]
    first: list[Sequence[str]] = []
    for cells in filter(None, reader):
        if len(cells) > len(header):
            raise ValueError(
                f"line {reader.line_num} has more cells than the header; quote them"
                f"{separator_hint(header, separator)}"
            )
        if len(first) < ROWS_COMPARED:
            first.append(cells)
        collector.add(dict.fromkeys(header) | dict(zip(header, cells, strict=False)))
    return header, separator_hint(header, separator) or missing_header_hint(header, first)
