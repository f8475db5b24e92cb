"""TOML text of a document of tables, lists and values; the standard library only reads TOML.

Nested tables are written inline, but for the tables, and lists of tables, at the top.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

_BARE = re.compile(r"[\w-]+", re.ASCII)


def to_toml(document: Mapping[str, Any]) -> str:
    """Write a document as TOML, which reads back as the same; keys without a value are left out.

    Args:
        document: tables by name; values are text, numbers, truth values, lists and tables.

    Raises:
        TypeError: a value is of another kind.
    """
    values = {key: value for key, value in document.items() if value is not None}
    tables = {key: value for key, value in values.items() if isinstance(value, Mapping)}
    lists = {key: value for key, value in values.items() if _is_list_of_tables(value)}
    lines = [_pair(key, value) for key, value in values.items() if key not in {*tables, *lists}]
    for key, table in tables.items():
        lines += ["", f"[{_key(key)}]", *_pairs(table)]
    for key, items in lists.items():
        for table in items:
            lines += ["", f"[[{_key(key)}]]", *_pairs(table)]
    return "\n".join(lines) + "\n"


def _is_list_of_tables(value: Any) -> bool:
    is_list = isinstance(value, list | tuple)
    return is_list and bool(value) and all(isinstance(item, Mapping) for item in value)


def _pairs(table: Mapping[str, Any]) -> list[str]:
    return [_pair(key, value) for key, value in table.items() if value is not None]


def _pair(key: str, value: Any) -> str:
    return f"{_key(key)} = {_value(value)}"


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _text(key)


def _text(value: str) -> str:
    # JSON's escapes are TOML's; only the character DEL may stand in JSON and not in TOML
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _text(value)
        case int() | float():
            return repr(value)
        case list() | tuple():
            return f"[{', '.join(map(_value, value))}]"
        case Mapping():
            return f"{{ {', '.join(_pairs(value))} }}" if value else "{}"
    raise TypeError(f"{value!r} is no value of TOML")
