"""Escaping of untrusted text: invisible characters, and formulas in CSV.

Tokens, labels and names of runs come from models and data; a terminal, a page, LaTeX or a
spreadsheet would obey some of their characters.
"""

import io
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported late: the command line escapes what it prints, and starts fast
    import pandas as pd

_FORMULA_STARTS = "=+-@\t\r"  # a spreadsheet evaluates text that begins with one of these


def visible(text: str, keep: str = "\n") -> str:
    """Replace control, direction and format characters, and separators, by text like `<U+202E>`.

    Args:
        text: any text, including lone surrogates.
        keep: characters that stay; a plain space always does.
    """
    if text.isprintable():
        return text
    return "".join(
        one if one in keep or not _hidden(one) else f"<U+{ord(one):04X}>" for one in text
    )


def _hidden(character: str) -> bool:
    # C*: control, format (bidi marks), surrogate, private, unassigned; Z*: separators
    return character != " " and unicodedata.category(character)[0] in "CZ"


def to_csv(frame: "pd.DataFrame") -> str:
    """Write CSV in which a spreadsheet sees no formula; `from_csv` restores the same frame.

    Lists are joined by spaces, and come back as text. Text that begins with = + - @, a tab or an
    apostrophe has an apostrophe in front of it.
    """
    text = frame.select_dtypes(exclude=["number", "bool", "boolean"]).columns
    return frame.assign(**{name: frame[name].map(_guarded) for name in text}).to_csv(index=False)


def from_csv(text: str) -> "pd.DataFrame":
    """Read the output of `to_csv`; leading lines that begin with # are skipped."""
    import pandas as pd

    lines = text.splitlines(keepends=True)
    begins = next((n for n, line in enumerate(lines) if not line.startswith("#")), len(lines))
    frame = pd.read_csv(io.StringIO("".join(lines[begins:])), keep_default_na=False, na_values=[""])
    words = frame.select_dtypes(exclude=["number", "bool"]).columns
    return frame.assign(**{name: frame[name].map(_plain) for name in words})


def _guarded(value: object) -> object:
    if isinstance(value, list) or hasattr(value, "tolist"):  # an array
        value = " ".join(map(str, value))  # pyright: ignore[reportArgumentType]
    if isinstance(value, str) and value[:1] and value[0] in f"{_FORMULA_STARTS}'":
        return f"'{value}"
    return value


def _plain(value: object) -> object:
    return value[1:] if isinstance(value, str) and value.startswith("'") else value
