"""Outcomes of a study's jobs, as processes tell them to each other and write them down."""

from typing import Any

Message = dict[str, Any]


def error_summary(outcome: Message) -> str:
    """What went wrong, in a line; `died` is what a supervisor says of a worker."""
    return next(outcome[kind] for kind in ("failed", "died", "damaged") if kind in outcome)
