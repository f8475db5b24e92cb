"""Errors that the user can fix, range checks, and one-line summaries of pydantic's errors."""

import sys
from collections.abc import Iterable

from pydantic import ValidationError
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


def validation_summary(error: ValidationError) -> str:
    """Describe the first validation error in one line: field, input value and problem."""
    problem = error.errors()[0]
    where = ".".join(map(str, problem["loc"])) or "config"
    value = repr(problem["input"])
    shown = value if len(value) <= _SHOWN else f"{value[:_SHOWN]}..."
    return f"{where}={shown}: {reason(problem)}"


def reason(problem: ErrorDetails) -> str:
    """Describe one of pydantic's errors; for a key with an old name, give its new name."""
    key = problem["loc"][-1] if problem["loc"] else ""
    if problem["type"] == "extra_forbidden" and key in RENAMED_KEYS:
        return f"this key is called {RENAMED_KEYS[str(key)]} now"
    return problem["msg"]


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
