"""Scores of other packages: functions named by entry points in the group peftlens.scores.

A score is a function of a written answer and its references, `(str, Sequence[str]) -> float`, with
values between 0 and 1.
"""

from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from numbers import Real

import numpy as np

from peftlens.errors import InputError

GROUP = "peftlens.scores"


def external_scores(taken: Sequence[str]) -> dict[str, EntryPoint]:
    """Find the scores of other packages by name; imports none of them.

    Args:
        taken: names of the built-in scores.

    Raises:
        InputError: a name is taken, or two packages give the same one.
    """
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        if point.name in taken or point.name in found:
            raise InputError(
                f"package {distribution(point)} provides a score named {point.name!r}, but this "
                "name exists already; uninstall the package, or ask for another name"
            )
        found[point.name] = point
    return dict(sorted(found.items()))


def distribution(point: EntryPoint) -> str:
    """Return the name of the package of an entry point."""
    return point.dist.name if point.dist else point.value


def load(point: EntryPoint) -> Callable[[str, Sequence[str]], float]:
    """Import the function of a score; what it raises and returns is checked at each call.

    Raises:
        InputError: it can't be imported, or is no function.
    """
    what = f"score {point.name!r} of package {distribution(point)}"
    try:
        function = point.load()
    except (ImportError, AttributeError) as error:
        raise InputError(f"{what} can't be imported: {error}") from error
    if not callable(function):
        raise InputError(
            f"{what} is no function; name one of a text and its references, such as "
            '"my_package.scores:my_score"'
        )

    def checked(answer: str, references: Sequence[str]) -> float:
        try:
            value = function(answer, tuple(references))
        except Exception as error:  # code of another package may raise anything
            said = " ".join(f"{type(error).__name__}: {error}".split())
            raise InputError(f"{what} fails on the answer {answer[:80]!r}: {said}") from error
        if not isinstance(value, (Real, np.bool_)) or not 0 <= float(value) <= 1:
            raise InputError(
                f"{what} returned {value!r} for the answer {answer[:80]!r}; it has to return a "
                "number between 0 and 1"
            )
        return float(value)

    return checked
