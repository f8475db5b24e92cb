"""Workbooks of Excel: rows of one sheet, as their values were stored; formulas are not computed."""

import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from peftlens.errors import InputError
from peftlens.io.extras import install_command
from peftlens.io.header_line import ROWS_COMPARED, missing_header_hint
from peftlens.io.records import Collector, ReadOptions, Records

_LARGEST = 100_000_000  # bytes of all parts after decompression
_LARGEST_PART = 20_000_000  # bytes of a part without rows, which openpyxl parses as a whole
_MOST_PARTS = 10_000
_MOST_ROWS, _MOST_COLUMNS = 1_048_576, 16_384  # of a sheet, in Excel
_SHEETS_SHOWN = 20
_FORMULAS_SHOWN = 1000  # cells without a value of which one may be a formula
# openpyxl raises what its parsing runs into; SyntaxError is the parser's of XML
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, SyntaxError, LookupError, TypeError,
    AttributeError, NotImplementedError, RuntimeError,
)  # fmt: skip


def read_xlsx(path: Path, options: ReadOptions) -> Records:
    """Read a sheet whose first row with a cell names the columns; cells with an error are missing.

    Raises:
        InputError: the extra is missing.
        ValueError: it is damaged, exceeds a limit, has several sheets and the options name none, or
            a used cell is a formula whose value was never stored.
    """
    _require_sizes(path)
    collector, first = Collector(options), list[Sequence[Any]]()
    missing: list[tuple[int, int]] = []
    with _open(path) as book:
        sheet = _sheet(book.worksheets, options.sheet)
        rows = _rows(sheet)
        names = _names(next(rows, (0, ()))[1])
        for number, row in rows:
            cells = _cells(row, names, number)
            if len(first) < ROWS_COMPARED:
                first.append(cells)
            if len(missing) < _FORMULAS_SHOWN:
                missing += _without_value(row, number, names, options.used)
            collector.add(dict(zip(names, cells, strict=True)))
    if missing:
        _require_no_formula(path, sheet.title, missing)
    hint = missing_header_hint(names, first)
    return Records(name=str(path), rows=collector.rows, columns=names, remedy=hint)


def _names(row: Sequence[Any]) -> list[str]:
    """Return the names in the first row; a cell before the last name may be empty."""
    names = ["" if (value := _value(cell)) is None else str(value).strip() for cell in row]
    while names and not names[-1]:
        names.pop()
    return names


def _holds(cell: Any) -> bool:
    return cell.value is not None


def _value(cell: Any) -> Any:
    return None if cell.data_type == "e" else cell.value


def _cells(row: Sequence[Any], names: Sequence[str], number: int) -> list[Any]:
    """Return the values below the names; None where a row is shorter.

    Raises:
        ValueError: a cell is beyond the names.
    """
    if any(map(_holds, row[len(names) :])):
        raise ValueError(f"row {number} has more cells than the row of names")
    values = [_value(cell) for cell in row[: len(names)]]
    return values + [None] * (len(names) - len(values))


def _without_value(
    row: Sequence[Any], number: int, names: Sequence[str], used: Sequence[str] | None
) -> Iterator[tuple[int, int]]:
    """Yield row and column of used cells without a value; a text that is empty has one."""
    for column, (cell, name) in enumerate(zip(row, names, strict=False)):
        is_used = used is None or name in used
        if is_used and cell.value is None and cell.data_type == "n":
            yield number, column


def _require_no_formula(path: Path, sheet: str, missing: Iterable[tuple[int, int]]) -> None:
    """Refuse formulas without a value, as files have that no spreadsheet program saved.

    Raises:
        ValueError: one of the cells is a formula.
    """
    wanted = {*missing}
    last = max(number for number, _ in wanted)
    with _open(path, formulas=True) as book:
        for number, row in _rows(book[sheet]):
            for column, cell in enumerate(row):
                if (number, column) in wanted and cell.data_type == "f":
                    raise ValueError(
                        f"cell {cell.coordinate} is a formula without a stored value; open and "
                        "save the file in a spreadsheet program, or replace formulas by values"
                    )
            if number >= last:
                return


def _require_sizes(path: Path) -> None:
    """Refuse a workbook that is too large after decompression.

    No more bytes are read than the directory of the archive states, so these are compared.

    Raises:
        ValueError: it is too large, or no archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    except _DAMAGED as error:
        raise ValueError(f"it is damaged, or no workbook: {error}") from error
    if len(parts) > _MOST_PARTS:
        raise ValueError(f"it has {len(parts):,} parts, and the limit is {_MOST_PARTS:,}")
    largest = max((one.file_size for one in parts if not _has_rows(one.filename)), default=0)
    for size, limit in (
        (sum(one.file_size for one in parts), _LARGEST),
        (largest, _LARGEST_PART),
    ):
        if size > limit:
            raise ValueError(
                f"it unpacks to {size:,} bytes, and the limit is {limit:,}; write a .csv or "
                ".parquet file"
            )


def _has_rows(name: str) -> bool:
    return name.startswith(("xl/worksheets/", "xl/sharedStrings"))


def _sheet(sheets: Sequence[Any], name: str | None) -> Any:
    """Return the named sheet, or the only visible one with a cell.

    Raises:
        ValueError: there is no such sheet, or there are several.
    """
    if name is not None:
        if found := [one for one in sheets if one.title == name]:
            return found[0]
        raise ValueError(f"it has no sheet {name!r}; its sheets: {_titles(sheets)}")
    visible = [one for one in sheets if one.sheet_state == "visible"]
    filled = [one for one in visible if next(_rows(one), None)]
    if not filled:
        raise ValueError("its sheets are empty")
    if len(filled) > 1:
        raise ValueError(f"it has several sheets; write sheet = one of {_titles(filled)}")
    return filled[0]


def _titles(sheets: Sequence[Any]) -> str:
    return ", ".join(repr(one.title[:100]) for one in sheets[:_SHEETS_SHOWN])


def _rows(sheet: Any) -> Iterator[tuple[int, Sequence[Any]]]:
    """Yield number and cells of each row that has a value.

    Raises:
        ValueError: the sheet is damaged, or larger than a sheet of Excel.
    """
    sheet.reset_dimensions()  # what a file says of its size is not always true
    rows = enumerate(sheet.iter_rows(), 1)
    while True:
        try:
            with warnings.catch_warnings(action="ignore"):
                number, row = next(rows)
        except StopIteration:
            return
        except _DAMAGED as error:
            raise ValueError(f"sheet {sheet.title[:100]!r} is damaged: {error}") from error
        if number > _MOST_ROWS or len(row) > _MOST_COLUMNS:
            raise ValueError(
                f"sheet {sheet.title[:100]!r} has more than {_MOST_ROWS:,} rows or "
                f"{_MOST_COLUMNS:,} columns"
            )
        if any(map(_holds, row)):
            yield number, row


@contextmanager
def _open(path: Path, *, formulas: bool = False) -> Iterator[Any]:
    """Open a workbook, whose rows are then read one by one.

    Raises:
        InputError: the extra is missing.
        ValueError: it is damaged.
    """
    openpyxl = _openpyxl()
    with path.open("rb") as file:
        try:
            with warnings.catch_warnings(action="ignore"):  # of styles and the like, not of values
                book = openpyxl.load_workbook(
                    file, read_only=True, data_only=not formulas, keep_links=False
                )
        except (*_DAMAGED, ValueError) as error:  # openpyxl puts a reason of its own in front
            reason = error.__cause__ or error
            raise ValueError(f"it is damaged, or no workbook: {reason}") from error
        with closing(book):
            yield book


def _openpyxl() -> Any:
    """Import openpyxl with defusedxml, which keeps entities from filling the memory.

    Raises:
        InputError: one of them is missing.
    """
    with suppress(ImportError):
        import openpyxl

        if openpyxl.DEFUSEDXML:
            return openpyxl
    raise InputError(f"workbooks need an extra: {install_command('xlsx')}")
