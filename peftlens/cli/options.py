"""Options of plug-ins on the command line: KEY=VALUE."""

import tomllib
from datetime import date, time
from typing import Any

from peftlens.errors import InputError


def pairs(options: list[str] | None) -> dict[str, Any]:
    """Parse KEY=VALUE options with TOML values; a bare word is text, and so is a date."""
    values: dict[str, Any] = {}
    for text in options or ():
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"option {text!r} must be KEY=VALUE, such as rank=8")
        try:
            parsed = tomllib.loads(f"value = {value}")
        except (ValueError, RecursionError):  # a bare word, or nested more deeply than any option
            parsed = {}
        is_text = parsed.keys() != {"value"} or isinstance(parsed["value"], date | time)
        values[key] = value if is_text else parsed["value"]
    return values
