"""Cells of a table as text, and texts that look alike."""

import math
import re
import unicodedata
from typing import Any

LONGEST = 2_000_000  # characters of a text; a tokenizer needs seconds and a gigabyte for more
_EXACT = 2**53  # below it, a whole float is exactly one integer
# control and format characters that are no white space, and variation selectors
_INVISIBLE = re.compile(
    r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u206f\ufe00-\ufe0f\ufeff]"
)
_WHOLE = re.compile(r"-?\d+\.0+")


def as_text(value: Any) -> Any:
    """Convert a cell to text.

    A float without a fraction is written as an integer: other programs store a column of integers
    with a gap as floats. Bytes are decoded as UTF-8.

    Returns:
        The text; None where the cell is missing; lists, objects and other bytes as they are, which
        `unusable` refuses.
    """
    if value is None or value != value:  # only NaN differs from itself
        return None
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return str(int(value))
    return value if isinstance(value, (list, tuple, dict, set)) else str(value)


def unusable(text: object) -> str | None:
    """Return the reason why a text can't be used, or None if it can."""
    if text is None:
        return "missing"
    if isinstance(text, bytes):
        return "bytes that are not UTF-8"
    if not isinstance(text, str):
        return "an object instead of text" if isinstance(text, dict) else "a list instead of text"
    if not text.strip():
        return "empty"
    if len(text) > LONGEST:
        return f"longer than {LONGEST:,} characters"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "not valid Unicode"
    return None


def look(text: str) -> str:
    """Return a key that is equal for texts that look alike.

    They may differ in white space, such as line ends and no-break spaces, in invisible characters,
    and in the form of their characters (Unicode's NFKC).
    """
    return " ".join(_INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).split())


def is_whole_float(text: str) -> bool:
    """Return whether a text is an integer written as a float, such as 1.0."""
    return _WHOLE.fullmatch(text) is not None


def whole_number(value: Any) -> int | None:
    """Return the integer that a cell holds as a number or in digits; None for any other cell."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return int(value) if math.isfinite(value) and value == int(value) else None
    text = look(value) if isinstance(value, str) else ""
    return int(text.partition(".")[0]) if re.fullmatch(r"-?\d{1,9}(\.0+)?", text) else None
