"""The one error that is the user's to mend, and how pydantic's errors are told."""

from pydantic import ValidationError


class BadInput(ValueError):
    """Something given to peftlens can't be used; the message names the value and the remedy.

    The command line prints it as one line and exits with 2. Anything else that is raised is a
    failed run or a defect of peftlens.
    """


def explain(error: ValidationError) -> str:
    """The first of a value's mistakes in one line: where, what was given, what is wrong with it."""
    problem = error.errors()[0]
    where = ".".join(map(str, problem["loc"])) or "config"
    return f"{where}={problem['input']!r}: {problem['msg']}"
