"""Options of plug-ins on the command line: KEY=VALUE, also of nested keys and of lists of names."""

import re
import tomllib
from datetime import date, time
from typing import Any

from peftlens.errors import InputError

_NAMES = re.compile(r"[\w.-]+(?:,[\w.-]+)+")  # q_proj,v_proj


def pairs(options: list[str] | None) -> dict[str, Any]:
    """Parse KEY=VALUE options with TOML keys and values: `split.max_train=100`.

    A bare word is text, and so is a date; names joined by commas are a list.

    Raises:
        InputError: an option has no value, or its key is none or contradicts another.
    """
    values: dict[str, Any] = {}
    for text in options or ():
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"option {text!r} must be KEY=VALUE, such as rank=8")
        *outer, last = _key(key, text)
        table = values
        for part in outer:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise InputError(f"option {text!r}: {part} has a value already, and no options")
        table[last] = _value(value)
    return values


def _key(key: str, text: str) -> list[str]:
    """Split a dotted key, whose parts may stand in quotes.

    Raises:
        InputError: it is no key of TOML.
    """
    try:
        table = tomllib.loads(f"{key} = 0")
    except (ValueError, RecursionError):
        table = {}
    parts: list[str] = []
    while isinstance(table, dict) and len(table) == 1:
        ((part, table),) = table.items()
        parts.append(part)
    if table != 0 or not parts:
        raise InputError(f"option {text!r} must be KEY=VALUE, such as rank=8 or split.seed=1")
    return parts


def _value(value: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {value}")
    except (ValueError, RecursionError):  # a bare word, or nested more deeply than any option
        return value.split(",") if _NAMES.fullmatch(value) else value
    is_text = parsed.keys() != {"value"} or isinstance(parsed["value"], date | time)
    return value if is_text else parsed["value"]
