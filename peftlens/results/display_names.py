"""Display names: configurations as people write them, such as "LoRA, rank 8".

Tables on disk keep the keys of the study file ("lora rank=8"), by which they are joined. Equal keys
have equal display names in every study, and different ones different names.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache

import pandas as pd

from peftlens import registry
from peftlens.errors import InputError
from peftlens.results.configurations import CONFIGURATIONS
from peftlens.results.table import Table

# columns of tables that hold keys of configurations
KEYS = ("configuration", "sweep", "other", "other_configuration", "shared_configuration", "family",
        "matched_lora", "name")  # fmt: skip
_METHOD = re.compile(r"(?P<method>\w+(?::\w+)?)(?P<rest>|[ ,].*)", re.DOTALL)
_OPTION = re.compile(r" (?=\w+=)")
_PHRASES = {
    "rank": "rank {}",
    "alpha": "α {}",
    "num_virtual_tokens": "{} tokens",
    "bottleneck_size": "size {}",
    "target_modules": "on {}",
    "blocks": "{} blocks",
    "max_steps": "{} steps",
    "init": "start {}",
    "init_text": "start text “{}”",
    "learning_rate": "learning rate {}",
    "examples": "{} examples",
    "keep": "keep {}",
}

# metrics of continual learning; they are accuracies and differences of accuracies
SEQUENCE = {
    "ACC": "average accuracy",
    "BWT": "backward transfer",
    "FWT": "forward transfer",
    "F": "accuracy forgotten",
}


def configuration_name(method: str, options: Mapping[str, str]) -> str:
    """Name a method and its options in words.

    Args:
        method: name of the method, such as "prompt_tuning".
        options: values of the options to show, as text, by key.

    Returns:
        Such as "Prompt tuning, 20 tokens".
    """
    return ", ".join([method_name(method), *(_phrase(*one) for one in options.items())])


def metric_name(metric: str) -> str:
    """Return the name of a metric on a page; tables call some by an abbreviation."""
    return SEQUENCE.get(metric, metric)


@lru_cache(maxsize=512)
def method_name(method: str) -> str:
    """Name a method in words, by its documentation; an unknown name is unchanged.

    A type of Hugging Face peft, such as "peft:GRALORA", is named "GRALORA (peft)".
    """
    kind, _, peft_type = method.partition(":")
    if peft_type:
        return f"{peft_type} ({kind})"
    try:
        return registry.describe("methods", method).title
    except InputError:  # the method belongs to a package that is not installed
        return method


def display_name(key: str) -> str:
    """Name a configuration by its key in a study, such as "lora rank=8".

    Text after the method's name that is no option stays, such as the regime in "lora (swapped)".
    A key that begins with no method's name, as of other programs' runs, is returned unchanged.
    """
    head, *options = _OPTION.split(key)
    parts = _METHOD.fullmatch(head)
    if parts is None or not _known(parts["method"]):
        return key
    pairs = dict(option.split("=", 1) for option in options)
    if parts["rest"]:  # such as a regime, in front of the options if there are any
        words = [method_name(parts["method"]) + parts["rest"]]
        return ", ".join([*words, *(_phrase(*one) for one in pairs.items())])
    return configuration_name(parts["method"], pairs)


def method_of(key: str) -> str | None:
    """Return the method with which the key of a configuration begins; None without one."""
    parts = _METHOD.match(key)
    return parts["method"] if parts and _known(parts["method"]) else None


def with_names(text: str, keys: Iterable[str]) -> str:
    """Replace the keys of configurations in a text by their display names.

    Keys without options, such as "full", may be words of the text, and stay.
    """
    ordered = sorted((key for key in keys if "=" in key), key=len, reverse=True)
    if not ordered:
        return text
    pattern = rf"(?<![\w=])({'|'.join(map(re.escape, ordered))})(?![.,]?\w)"
    return re.sub(pattern, lambda found: display_name(found[0]), text)


def with_display_names(data: Table) -> Table:
    """Copy a table, with display names instead of the keys of configurations."""
    names = [one for one in KEYS if one in data.frame and _holds_keys(data, one)]
    named = {one: _named(data.frame[one]) for one in names}
    return replace(data, frame=data.frame.assign(**named))


def _holds_keys(data: Table, column: str) -> bool:
    return column != "name" or data.name != CONFIGURATIONS  # there, a hyperparameter


def _named(keys: pd.Series) -> pd.Series:
    """Name each key once: tables of items have hundreds of thousands of rows."""
    found = {key: display_name(key) if isinstance(key, str) else key for key in keys.unique()}
    return keys.map(found).astype(keys.dtype)


def _known(method: str) -> bool:
    return method.partition(":")[0] == "peft" or method in registry.names("methods")


def _phrase(key: str, value: str) -> str:
    words = key.replace("_", " ")
    if value in ("True", "False"):
        return words if value == "True" else f"no {words}"
    return _PHRASES.get(key, f"{words} {{}}").format(value)
