"""Configuration of an adapter: adapter_config.json, checked against the types of peft's fields.

Everything in the file was written by others. It is checked once, here, so that no other module has
to expect a text where a number belongs.
"""

import json
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from peft import PeftType
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from peftlens import registry
from peftlens.adapters.field_types import field_types, is_count, is_finite, suits
from peftlens.adapters.other_formats import other_format
from peftlens.errors import InputError

CONFIG = "adapter_config.json"
METHOD = "peftlens_method"  # key in the configuration of an adapter that is not of peft's types
TYPES = tuple(str(kind.value) for kind in PeftType)
BASE = "base_model_name_or_path"
TASK = "task_type"  # peft's name of the head that the adapter was trained with
PREFIX = "base_model.model."  # prefix of peft's names of tensors
DEFAULT_RANK = 8  # rank of a LoRA whose configuration names none

_LARGEST_SCALE = 10_000.0  # upper limit for the scale of an update; scales in use are below 100
_LARGEST_FILE = 16_000_000  # bytes; the longest configurations in use have a few hundred kilobytes
# Numeric fields of configurations, with the smallest valid value.
_NUMBERS = {"r": 0, "num_virtual_tokens": 1, "token_dim": 1, "num_layers": 1,
            "num_attention_heads": 1}  # fmt: skip
_ALPHAS = ("lora_alpha", "alpha")
_CHECKED = (*_NUMBERS, *_ALPHAS)  # by rules of their own
_IGNORED = {"runtime_config"}  # by peft, in a file
_POSITIVE_RANK = ("LORA", "ADALORA", "LOHA", "LOKR")  # types in which peft refuses r=0
# Fields that hold one regular expression where they hold a text.
_EXPRESSIONS = ("target_modules", "exclude_modules", "feedforward_modules")
_WHOLE_TEXTS = ("all-linear",)  # texts in these fields that are no regular expression


class InvalidAdapterError(InputError):
    """An adapter that can't work on any base: damaged, or with two contradictory files."""


def read_config(file: Path, *, trust_remote_code: bool = False) -> dict[str, Any]:
    """Read and check adapter_config.json.

    Args:
        file: path of the file.
        trust_remote_code: whether the configuration may name code; see `_refuse_code`.

    Raises:
        InvalidAdapterError: a field is invalid; the message names file, field and remedy.
        InputError: the folder is not an adapter of peft, or could run code.
    """
    config = _load(file)
    _check_type(file, config)
    if not trust_remote_code:
        _refuse_code(file, config)
    name = config.get(BASE)
    if name is not None and not isinstance(name, str):
        raise InvalidAdapterError(f"{file} has {BASE}={name!r}; it must be a name or a path")
    if METHOD in config:
        _check_options(file, config)
        return config
    _check_numbers(file, config)
    _check_fields(file, config)
    _check_expressions(file, config)
    _check_construction(file, config)
    return config


def require_regular(file: Path) -> None:
    """Refuse a device, a pipe or a folder in place of a file, which could be read for ever.

    Raises:
        InvalidAdapterError: the path exists, and is no regular file.
    """
    if file.exists() and not file.is_file():
        raise InvalidAdapterError(f"{file} is not a regular file; put the file itself there")


def expressions(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the regular expressions of a configuration, each with the name of its field."""
    for field in _EXPRESSIONS:
        value = config.get(field)
        if isinstance(value, str) and value not in _WHOLE_TEXTS:
            yield field, value
    patterns = config.get("layers_pattern") or ()
    for value in (patterns,) if isinstance(patterns, str) else patterns:
        yield "layers_pattern", value
    for field in ("rank_pattern", "alpha_pattern"):
        for key in config.get(field) or ():
            yield field, key


def _load(file: Path) -> dict[str, Any]:
    require_regular(file)
    if not file.is_file():
        raise InputError(_without_config(file))
    if file.stat().st_size > _LARGEST_FILE:
        raise InvalidAdapterError(
            f"{file} has {file.stat().st_size / 1e6:.0f} MB, which no configuration needs; the "
            f"limit is {_LARGEST_FILE / 1e6:.0f} MB"
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidAdapterError(f"{file} is damaged: {error}; get the file again") from error
    if not isinstance(config, dict):
        raise InvalidAdapterError(
            f"{file} is not the configuration of an adapter: it does not hold a JSON object"
        )
    return config


def _without_config(file: Path) -> str:
    """Describe a folder without a configuration: adapters below it, or another program's files."""
    folder = file.parent
    message = f"{folder} is not an adapter: it has no {CONFIG}"
    if below := adapters_below(folder):
        return f"{message}; give one of the adapters below it: {', '.join(below)}"
    if other := other_format(folder, {}):
        return f"{folder} is not an adapter of peft: {other}"
    return message


def adapters_below(folder: Path) -> list[str]:
    """Return the names of the folders directly below one that hold an adapter each."""
    if not folder.is_dir():
        return []
    return sorted(one.parent.name for one in folder.glob(f"*/{CONFIG}"))


def _check_type(file: Path, config: dict[str, Any]) -> None:
    if METHOD in config:
        registry.check("methods", str(config[METHOD]))
        return
    kind = config.get("peft_type")
    if not isinstance(kind, str) or kind not in TYPES:
        if kind is None and (other := other_format(file.parent, config)):
            raise InputError(f"{file.parent} is not an adapter of peft: {other}")
        raise InvalidAdapterError(
            f"{file} has peft_type={kind!r}, which this version of peft does "
            f"not support; it supports {', '.join(TYPES)}"
        )


def _refuse_code(file: Path, config: dict[str, Any]) -> None:
    """Refuse fields that make peft import modules named in the file.

    peft writes a mapping to a class of transformers where no task type was set; it names only code
    that is loaded anyway, and peftlens does not read it. megatron.core is peft's default, and is
    imported only where megatron_config is set.
    """
    mapping = config.get("auto_mapping")
    parent = mapping.get("parent_library") if isinstance(mapping, dict) else mapping
    harmless = parent is None or str(parent).split(".")[0] == "transformers"
    megatron = config.get("megatron_config") or config.get("megatron_core") not in (
        None, "megatron.core",
    )  # fmt: skip
    for name, runs_code in (("auto_mapping", not harmless), ("megatron_core", megatron)):
        if runs_code:
            raise InputError(
                f"{file} has {name}, which makes peft import code by name; remove it, or allow it "
                "with --trust-remote-code"
            )


def _check_options(file: Path, config: dict[str, Any]) -> None:
    """Check the options of a method of peftlens."""
    options = {name: value for name, value in config.items() if name not in (METHOD, BASE, TASK)}
    try:
        registry.configure("methods", str(config[METHOD]), options)
    except InputError as error:
        raise InvalidAdapterError(f"{file}: {error}") from error


def _check_numbers(file: Path, config: dict[str, Any]) -> None:
    for name, smallest in _NUMBERS.items():
        value = config.get(name)
        least = 1 if name == "r" and config["peft_type"] in _POSITIVE_RANK else smallest
        if value is not None and not is_count(value, least):
            raise InvalidAdapterError(
                f"{file} has {name}={value!r}; it must be a whole number, at least {least}"
            )
    for name in _ALPHAS:
        if config.get(name) is not None:
            _check_alpha(file, name, config[name], config.get("r") or 1)
    if config["peft_type"] != "ADALORA":  # whose rank_pattern holds masks
        _check_pattern(file, config, "rank_pattern", lambda value: is_count(value, 1))
        _check_pattern(file, config, "alpha_pattern", lambda value: is_finite(value) and value)


def _check_pattern(
    file: Path, config: dict[str, Any], name: str, valid: Callable[[Any], Any]
) -> None:
    pattern = config.get(name)
    for key, value in pattern.items() if isinstance(pattern, dict) else ():
        if not valid(value):
            raise InvalidAdapterError(
                f"{file} has {name}[{key!r}]={value!r}; it must be a finite number above 0"
            )


def _check_alpha(file: Path, name: str, value: Any, rank: int) -> None:
    if not is_finite(value) or not value:
        raise InvalidAdapterError(
            f"{file} has {name}={value!r}; it must be a finite number other than 0, because it "
            "multiplies the whole update"
        )
    if abs(value) / rank > _LARGEST_SCALE:
        raise InvalidAdapterError(
            f"{file} has {name}={value!r}: the update would be multiplied by "
            f"{value / rank:g}; scales in use are below 100"
        )


def _check_fields(file: Path, config: dict[str, Any]) -> None:
    """Check every field that peft knows against the type that peft declares."""
    known = field_types(config["peft_type"])
    for name, value in config.items():
        if name not in known or name in _IGNORED or (name in _CHECKED and value is not None):
            continue
        if not suits(*known[name], value):
            raise InvalidAdapterError(
                f"{file} has {name}={_short(value)}, which is not of the type of peft's {name}; "
                "correct it, or get the file again"
            )


def _check_expressions(file: Path, config: dict[str, Any]) -> None:
    for field, text in expressions(config):
        if not isinstance(text, str):
            raise InvalidAdapterError(f"{file} has {_short(text)} in {field}; it must be a text")
        try:
            re.compile(rf"(.*\.)?({text})$")  # as peft searches it
        except (re.error, OverflowError, RecursionError) as error:
            raise InvalidAdapterError(
                f"{file} has {field} with {_short(text)}, which is not a regular expression: "
                f"{error}; correct it"
            ) from error


def _check_construction(file: Path, config: dict[str, Any]) -> None:
    """Build peft's configuration object, whose own checks come before any weight is read."""
    cls = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(config["peft_type"])]
    known = field_types(config["peft_type"]).keys() - _IGNORED
    values = {name: value for name, value in config.items() if name in known}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of options that have no effect
            cls.from_peft_type(**values)
    # what checks in peft's configuration classes raise
    except (ValueError, TypeError, AttributeError, KeyError, ImportError) as error:
        line = " ".join(str(error).split())
        raise InvalidAdapterError(f"{file} can't be used by peft: {line}") from error


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
