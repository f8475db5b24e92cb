"""Errors that the user can fix: range checks, nearest names, and summaries of pydantic's errors."""

import re
import sys
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher, get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

# Keys of study files, run folders and methods before 0.1.0, by their names since then.
RENAMED_KEYS = {
    "base": "base_model",
    "after": "continue_from",
    "full": "full_scale",
    "steps": "max_steps",
    "accumulation": "gradient_accumulation_steps",
    "schedule": "lr_scheduler_type",
    "warmup": "warmup_ratio",
    "log_every": "logging_steps",
    "pull": "anchor_weight",
    "pull_text": "anchor_text",
    "orthogonality": "orth_reg_weight",
    "gate_rate": "gate_learning_rate",
}

# Names of other programs for options of ours, suggested where an option of this name exists.
_NAMES_ELSEWHERE = {
    "epochs": "max_steps",
    "lora_alpha": "alpha",
    "lora_r": "rank",
    "lr": "learning_rate",
    "model": "base_model",
    "model_name_or_path": "base_model",
    "num_train_epochs": "max_steps",
    "per_device_train_batch_size": "batch_size",
    "r": "rank",
    "rank": "r",
    "alpha": "lora_alpha",
}

# ratios of difflib: with less, other words than the meant one are suggested
_LEAST_SIMILAR, _NEARLY_AS_SIMILAR = 0.55, 0.2
_SHOWN = 200  # characters of a wrong value in an error, which is one line


class InputError(ValueError):
    """Input that peftlens can't use; the message names the value and the remedy.

    Example:
        ```python
        try:
            pl.train(pl.RunConfig(method="lora", task="bbc_topics"), "runs")
        except pl.InputError as error:
            print(error)  # no task named 'bbc_topics'; did you mean bbc_topic?
        ```

    The command line prints it as one line and exits with 2. Anything else that is raised is a
    failed run or a defect of peftlens.
    """


def nearest(name: str, choices: Iterable[str]) -> list[str]:
    """Return up to three names that a misspelled one may mean, the nearest first.

    Case, hyphens, underscores and spaces are ignored: a name that differs in these only is the one
    match. Names of options in other programs count as misspelled, too.

    Args:
        name: misspelled name.
        choices: valid names.
    """
    available = [*choices]
    by_look = {_look(choice): choice for choice in reversed(available)}
    elsewhere = (RENAMED_KEYS | _NAMES_ELSEWHERE).get(name.lower())
    if elsewhere in available:
        return [elsewhere]
    if _look(name) in by_look:
        return [by_look[_look(name)]]
    looks = get_close_matches(_look(name), by_look, cutoff=_LEAST_SIMILAR)
    best = _similarity(name, looks[0]) if looks else 1.0
    return [by_look[look] for look in looks if _similarity(name, look) > best - _NEARLY_AS_SIMILAR]


def _similarity(name: str, look: str) -> float:
    return SequenceMatcher(None, look, _look(name)).ratio()


def _look(name: str) -> str:
    return re.sub(r"[-_\s]", "", name.casefold())


def suggestion(name: str, choices: Iterable[str], listing: str = "choose from") -> str:
    """Return the second half of an error about a name: the nearest names, or else all of them.

    Args:
        name: misspelled name.
        choices: valid names.
        listing: words in front of the list of all names.
    """
    available = [*choices]
    return did_you_mean(nearest(name, available)) or f"{listing} {', '.join(available) or 'none'}"


def did_you_mean(names: Sequence[str]) -> str:
    """Return a question with the nearest names; empty without any."""
    if not names:
        return ""
    *others, last = names
    return f"did you mean {' or '.join([', '.join(others), last] if others else [last])}?"


def validation_summary(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """Describe the first validation error in one line: field, input value and problem.

    Args:
        error: error of pydantic.
        model: model that was validated, for the names of its keys.
    """
    problem = error.errors()[0]
    where = ".".join(map(str, problem["loc"])) or "config"
    value = repr(problem["input"])
    shown = value if len(value) <= _SHOWN else f"{value[:_SHOWN]}..."
    return f"{where}={shown}: {reason(problem, model)}"


def reason(problem: ErrorDetails, model: type[BaseModel] | None = None) -> str:
    """Describe one of pydantic's errors; for an unknown key or choice, give the nearest name.

    Args:
        problem: error of pydantic.
        model: model that was validated, for the names of its keys.
    """
    key = str(problem["loc"][-1]) if problem["loc"] else ""
    if problem["type"] == "extra_forbidden":
        if key in RENAMED_KEYS:
            return f"this key is called {RENAMED_KEYS[key]} now"
        keys = [] if model is None else _keys_at(model, problem["loc"][:-1])
        return f"unknown key; {suggestion(key, keys)}" if keys else problem["msg"]
    if problem["type"] == "literal_error":
        choices = re.findall(r"'([^']*)'", problem.get("ctx", {}).get("expected", ""))
        question = did_you_mean(nearest(str(problem["input"]), choices))
        return f"{problem['msg']}; {question}" if question else problem["msg"]
    return problem["msg"].removeprefix("Value error, ")


def _keys_at(model: type[BaseModel], place: Sequence[str | int]) -> list[str]:
    """Return the names of the keys of a model, or of the one that a place in it holds."""
    for part in place:
        if isinstance(part, str) and part in model.model_fields:
            inner = _models(model.model_fields[part].annotation)
            if not inner:
                return []
            model = inner[0]
    return [*model.model_fields]


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [one for inner in get_args(annotation) for one in _models(inner)]


def require(name: str, value: float, low: float, high: float | None = None, why: str = "") -> None:
    """Refuse a value outside its range; infinity and NaN are always outside.

    Args:
        name: the option, as the user writes it.
        value: the user's value.
        low: smallest valid value.
        high: largest valid value, if there is one.
        why: reason for the upper bound.

    Raises:
        InputError: the value is outside; the message names value and range.
    """
    if low <= value <= (sys.float_info.max if high is None else high):
        return
    if high is None:
        raise InputError(f"{name}={value:g} must be finite and at least {low:g}")
    reason = f", {why}" if why else ""
    raise InputError(f"{name}={value:g} must lie between {low:g} and {high:g}{reason}")


def require_divisor(name: str, value: int, sizes: Iterable[int], what: str) -> None:
    """Refuse a value that does not divide all sizes.

    Args:
        name: the option, as the user writes it.
        value: the user's value, positive.
        sizes: sizes to divide.
        what: description of a size, for the message.

    Raises:
        InputError: a size is not divisible; the message names value and size.
    """
    if odd := [size for size in sizes if size % value]:
        raise InputError(f"{name}={value} must divide {odd[0]}, {what}")


def require_positive(name: str, value: float) -> None:
    """Refuse zero, negative values, infinity and NaN.

    Raises:
        InputError: the value is outside; the message names value and range.
    """
    if not 0 < value < float("inf"):
        raise InputError(f"{name}={value:g} must be above 0 and finite")
