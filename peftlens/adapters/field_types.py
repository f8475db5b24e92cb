"""Field types: whether a value from JSON suits a field of one of peft's configuration classes."""

import math
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from peft import PeftType, PromptLearningConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

_UNLISTED = ("lora_ga",)  # initializations that peft 0.21 knows, and does not declare
_SCALES = ("_alpha", "_lambda")  # ends of names of factors, of which peft declares some as integers
_LARGEST = 2**63  # torch's integers; larger ones overflow in floats too


@cache
def field_types(kind: str) -> dict[str, tuple[Any, Any]]:
    """Return the declared type and the default of every field of a type of adapter, by name."""
    cls = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(kind)]
    hints = get_type_hints(cls)
    return {
        one.name: (
            _hint(one.name, hints[one.name]),
            None if one.default is MISSING else one.default,
        )
        for one in fields(cls)
    }


def _hint(name: str, declared: Any) -> Any:
    """Return the declared type of a field, of a factor that peft multiplies by a number's."""
    return float if declared is int and name.endswith(_SCALES) else declared


def is_prompt_type(kind: str) -> bool:
    """Whether a type of adapter consists of vectors in front of the input."""
    return issubclass(PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(kind)], PromptLearningConfig)


def is_count(value: Any, least: int) -> bool:
    """Whether a value is a whole number within the range of torch's integers."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < _LARGEST


def is_finite(value: Any) -> bool:
    """Whether a value is a finite number of a usual size."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return abs(value) < _LARGEST and math.isfinite(value)


def suits(hint: Any, default: Any, value: Any) -> bool:
    """Whether peft can use a value in a field.

    Args:
        hint: declared type of the field.
        default: default of the field; fields whose default is null can be null.
        value: value from JSON.
    """
    if value is None:
        return default is None or hint is bool or _accepts(hint, None)
    return _accepts(hint, value)


def _accepts(hint: Any, value: Any) -> bool:
    origin = get_origin(hint) or hint
    if origin in (Union, UnionType):
        return any(_accepts(one, value) for one in get_args(hint))
    if origin in _RULES:
        return _RULES[origin](value, get_args(hint))
    if is_dataclass(origin):
        return isinstance(value, dict)  # peft builds nested configurations itself
    if isinstance(origin, type) and issubclass(origin, str):
        return isinstance(value, str)  # an enumeration
    return True


def _is_list(value: Any, arguments: tuple[Any, ...]) -> bool:
    each = [one for one in arguments if one is not Ellipsis]
    return isinstance(value, list) and (
        not each or all(any(_accepts(one, entry) for one in each) for entry in value)
    )


def _is_dict(value: Any, arguments: tuple[Any, ...]) -> bool:
    return isinstance(value, dict) and (
        not arguments or all(_accepts(arguments[1], entry) for entry in value.values())
    )


def _is_literal(value: Any, arguments: tuple[Any, ...]) -> bool:
    """Whether a value is listed; in a text of the list, brackets stand for a free part."""
    starts = [one.partition("[")[0] for one in arguments if isinstance(one, str) and "[" in one]
    return value in arguments or (
        isinstance(value, str) and value.startswith((*starts, *_UNLISTED))
    )


_Rule = Callable[[Any, tuple[Any, ...]], bool]
# By declared type; peft turns lists into sets itself.
_RULES: dict[Any, _Rule] = {
    type(None): lambda value, _: value is None,
    bool: lambda value, _: isinstance(value, (bool, int)) and value in (0, 1),
    int: lambda value, _: is_count(value, 1 - _LARGEST),
    float: lambda value, _: is_finite(value),
    list: _is_list,
    set: _is_list,
    tuple: _is_list,
    dict: _is_dict,
    Literal: lambda value, arguments: _is_literal(value, arguments),
}
