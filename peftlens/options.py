"""Values for a dataclass of options: keys are checked, texts for lists of texts become lists.

pydantic ignores unknown keys of a dataclass inside a dataclass, and takes no text for a list.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any, get_origin, get_type_hints

from peftlens.errors import InputError, suggestion

_EXTRA = "options"  # field that takes unknown keys, for options of another program
_PEFT_SPELLINGS = {"all-linear": "all_linear"}  # of target_modules


def option_values(
    owner: str, config: type, values: Mapping[str, Any], prefix: str = ""
) -> dict[str, Any]:
    """Return values for the fields of a dataclass of options.

    Args:
        owner: name of the plug-in, for errors.
        config: dataclass; where it has a dict `options`, unknown keys go there.
        values: values by key, as a user writes them.
        prefix: keys around these, each with a dot.

    Raises:
        InputError: an unknown key, also inside a nested dataclass; the message names the nearest.
    """
    types = _types(config)
    unknown = {key: value for key, value in values.items() if key not in types}
    known = {
        key: _value(owner, key, types[key], one) for key, one in values.items() if key in types
    }
    if unknown and not takes_any_key(config):
        key = next(iter(unknown))
        remedy = suggestion(key, types, "it has")
        raise InputError(f"{owner} has no option {prefix + key!r}; {remedy}")
    extra = known.get(_EXTRA, {})
    if unknown and isinstance(extra, Mapping):
        known[_EXTRA] = {**extra, **unknown}
    return known


def takes_any_key(config: type) -> bool:
    """Return whether unknown keys are options of another program: a dict called `options`."""
    return get_origin(_types(config).get(_EXTRA)) is dict


@lru_cache(maxsize=256)
def _types(config: type) -> dict[str, Any]:
    hints = get_type_hints(config)
    return {field.name: hints[field.name] for field in fields(config)}


def _value(owner: str, key: str, kind: Any, value: Any) -> Any:
    if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, Mapping):
        return option_values(owner, kind, value, f"{key}.")
    if kind == tuple[str, ...] and isinstance(value, str):
        value = (value,)
    if key == "target_modules" and isinstance(value, list | tuple):
        return tuple(_PEFT_SPELLINGS.get(str(one), one) for one in value)
    return value
