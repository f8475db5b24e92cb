"""Options of plug-ins on the command line: KEY=VALUE."""

import tomllib
from typing import Any

from peftlens.errors import InputError


def pairs(options: list[str] | None) -> dict[str, Any]:
    """Parse KEY=VALUE options with TOML values; a bare word is text."""
    values: dict[str, Any] = {}
    for text in options or ():
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"option {text!r} must be KEY=VALUE, such as rank=8")
        try:
            values[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            values[key] = value
    return values
