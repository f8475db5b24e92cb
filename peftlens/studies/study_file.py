"""Study file: its text, and its TOML within limits of size, nesting and kinds of values.

TOML has dates, numbers that are not finite and keys of any depth; a run's configuration is JSON.
"""

import math
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peftlens.errors import InputError
from peftlens.io.files import nearest_file
from peftlens.studies.toml_lines import MOST_LEVELS, Place, TomlLines

MOST_BYTES = 1_000_000
_STRINGS = re.compile(
    r'"""(?:[^\\]|\\.)*?"""|\'\'\'.*?\'\'\'|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*', re.DOTALL
)
# tomllib's memory is quadratic in the parts of a key, so they are counted before
_LONG_KEY = re.compile(rf"(?<![\w-])[\w-]++(?:[ \t]*+\.[ \t]*+[\w-]++){{{MOST_LEVELS},}}")
_SHOWN = 60  # characters of a key in an error


def read_text(file: Path) -> str:
    """Read the text of a study file.

    Raises:
        InputError: the file does not exist, is too large or is not a text file.
    """
    if not file.exists():
        remedy = nearest_file(file) or "give the path of a TOML file"
        raise InputError(f"no study file {str(file)!r}; {remedy}")
    if not file.is_file():
        raise InputError(f"{str(file)!r} is not a text file; give the path of a TOML file")
    if (size := file.stat().st_size) > MOST_BYTES:
        raise InputError(
            f"{str(file)!r} has {size:,} bytes, more than the {MOST_BYTES:,} of a study file"
        )
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{str(file)!r} is not a text file; give the path of a TOML file"
        ) from error


def load(text: str, source: str) -> dict[str, Any]:
    """Parse the text of a study file as TOML.

    Args:
        text: text of the file.
        source: name of the file, for errors.

    Raises:
        InputError: the text is not TOML, or is nested too deeply.
    """
    if match := _LONG_KEY.search(_STRINGS.sub(_blank, text)):
        line = text.count("\n", 0, match.start()) + 1
        raise InputError(
            f"{source}, line {line}: a key of more than {MOST_LEVELS} parts; no option is as deep"
        )
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        line = TomlLines.of(text).deep or 1
        raise InputError(
            f"{source}, line {line}: tables or lists are nested more than {MOST_LEVELS} deep"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{source}{_mistake(text, str(error))}") from error
    except ValueError as error:
        raise InputError(f"{source}: a number has more digits than can be read") from error


def _mistake(text: str, message: str) -> str:
    """Return the line of a mistake in the syntax, and what it is.

    tomllib tells the place where it noticed it, behind a value that repeats a key or has no end.
    """
    found = TomlLines.of(text)
    match = re.fullmatch(r"(.*?) \(at (?:line (\d+), column \d+|end of document)\)", message)
    what, noticed = (match[1], match[2]) if match else (message, None)
    line = int(noticed) if noticed else text.count("\n") + 1
    if found.twice and found.twice[2] <= line and what.startswith("Cannot"):
        place, first, second = found.twice
        return f", line {second}: {dotted(place)} stands twice, first in line {first}"
    if found.unclosed and found.unclosed <= line:
        return f", line {found.unclosed}: a text, list or table begins here and has no end"
    hint = "; a text stands in quotes" if what == "Invalid value" else ""
    return f", line {line}: {what}{hint}"


def _blank(match: re.Match[str]) -> str:
    """Replace a string by a word and a comment by spaces, of the same length and lines."""
    filler = " " if match[0].startswith("#") else "s"
    return re.sub(r"[^\n]", filler, match[0])


def dotted(place: Place) -> str:
    """Write the place of a value as a dotted key, in which very long parts are cut."""
    return ".".join(str(part)[:_SHOWN] for part in place)


def unusable_values(document: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    """Find values that no configuration can hold; yield their places and the reasons."""
    rest: list[tuple[Place, Any]] = [((), document)]
    while rest:
        place, value = rest.pop()
        if isinstance(value, dict | list) and len(place) > MOST_LEVELS:
            yield place, f"is nested more than {MOST_LEVELS} deep"
        elif isinstance(value, dict):
            rest += [((*place, key), item) for key, item in value.items()]
        elif isinstance(value, list):
            rest += [((*place, index), item) for index, item in enumerate(value)]
        elif problem := _problem(place, value):
            yield place, problem


def _problem(place: Place, value: Any) -> str | None:
    match value:
        case bool():
            return None
        case str():
            return "holds a NUL character; remove it" if "\0" in value else None
        case int():
            return None if -(2**63) <= value < 2**63 else "is a number beyond 64 bits"
        case float():
            finite = math.isfinite(value) or "probe_options" in place[:2]
            return None if finite else f"= {value} is not a finite number"
    return f"= {value} is a date or a time; write it as text, in quotes"
