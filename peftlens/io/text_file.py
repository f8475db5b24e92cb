"""Text files: opened in their encoding and decompressed, and read by lines up to stated limits."""

import codecs
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from peftlens.io.records import ReadOptions

LONGEST_LINE = 16_000_000  # characters
_LARGEST = 4_000_000_000  # bytes of a file after decompression
_ALWAYS_UNPACKED = 10_000_000  # bytes up to which any compression is fine
_MOST_UNPACKED = 200  # bytes from one compressed byte; texts have 3 to 20, tables of few words 50
_SAMPLE = 4096  # bytes
_BYTE_ORDER_MARKS = (  # UTF-32's first: the mark of UTF-16 is its beginning
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def open_text(path: Path, options: ReadOptions, newline: str | None = None) -> IO[str]:
    """Open a text file, decompressed if its name ends in .gz.

    Raises:
        ValueError: it looks like UTF-16 or UTF-32, and the options have another encoding.
    """
    name = codecs.lookup(options.encoding).name
    with _open_bytes(path) as file:
        seen = _wide_encoding(file.read(_SAMPLE))
    if seen and not name.startswith(("utf-16", "utf-32")):
        raise ValueError(f"it looks like {seen}: write encoding = {seen!r}")
    encoding = "utf-8-sig" if name == "utf-8" else options.encoding  # Excel writes a mark
    return io.TextIOWrapper(_open_bytes(path), newline=newline, encoding=encoding)


def suffix_of(path: Path) -> str:
    """Return the format's suffix in lower case: that before .gz of a compressed file."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix == ".gz" else suffix


def lines(file: IO[str]) -> Iterator[str]:
    """Yield lines; splitlines would also split at U+2028 in a text.

    Raises:
        ValueError: a line is too long.
    """
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise ValueError(
                f"line {number} has more than {LONGEST_LINE:,} characters; shorten or split it"
            )
        yield line


def encoding_hint(error: UnicodeError) -> str:
    """Name the encoding that the bytes look like which could not be decoded."""
    data = error.object if isinstance(error, UnicodeDecodeError) else b""
    seen = _wide_encoding(data[:_SAMPLE]) or _western_encoding(data)
    if not seen:
        return "write its encoding, such as encoding = 'cp1252', 'latin-1' or 'utf-16-le'"
    return (
        f"it looks like {seen}: write encoding = {seen!r}, or another in which the file was written"
    )


def _wide_encoding(data: bytes) -> str | None:
    """Recognize UTF-16 and UTF-32 by a byte order mark, or by the zero bytes of Western letters."""
    for mark, name in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return name
    high, low = data[0::2].count(0), data[1::2].count(0)
    if high + low < len(data) / 4 or not data:
        return None
    return "utf-16-le" if low > high else "utf-16-be"


def _western_encoding(data: bytes) -> str | None:
    """Return cp1252, which has all letters of latin-1, or latin-1 where it lacks a byte."""
    if not data or data.startswith(codecs.BOM_UTF8):
        return None
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252"


def _open_bytes(path: Path) -> Any:
    if path.suffix.lower() != ".gz":
        return path.open("rb")
    return io.BufferedReader(_Decompressed(path))


class _Decompressed(io.RawIOBase):
    """Decompressed bytes of a .gz file, within limits: a small file can hold terabytes."""

    def __init__(self, path: Path) -> None:
        self._raw = path.open("rb")
        self._file = gzip.GzipFile(fileobj=self._raw)
        self._count = 0

    def readable(self) -> bool:
        """Return true."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read bytes into a buffer.

        Raises:
            ValueError: the file has too many, in all or for its compressed size.
        """
        count = self._file.readinto(buffer)
        self._count += count
        if self._count > _LARGEST:
            raise ValueError(f"it unpacks to more than {_LARGEST:,} bytes; keep fewer rows")
        if self._count > max(_ALWAYS_UNPACKED, _MOST_UNPACKED * self._raw.tell()):
            raise ValueError(
                f"it unpacks to more than {_MOST_UNPACKED} times its size, as no table does; "
                "decompress it if it is one"
            )
        return count

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._raw.close()
        super().close()
