"""Regular expressions of others: refused if matching them takes too long, measured in a child.

Python's `re` can take exponential time, and peft matches the expressions of a configuration against
the name of every module. A thread can't be interrupted while it matches; a child process can.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from functools import lru_cache

SECONDS = 3.0  # of which the start of the child takes about 0.05
_NAMES = 32  # names that are tried; those of one role behave alike
_QUANTIFIER = re.compile(r"(?<!\()[*+?{]")
_CHILD = """
import json, re, sys
expressions, names = json.load(sys.stdin)
for number, expression in enumerate(expressions):
    print(number, flush=True)
    for name in names:
        for text in (name, name + "!"):  # the second one fails at its end, after all attempts
            re.fullmatch(expression, text)
            re.match("(.*\\\\.)?(" + expression + ")$", text)
"""


def slow_expression(expressions: Iterable[str], names: Iterable[str]) -> str | None:
    """Find a regular expression that takes seconds to match, if there is one.

    Args:
        expressions: valid regular expressions.
        names: names of modules that they will be matched against.

    Returns:
        The first such expression; None if all together take less than `SECONDS`.
    """
    suspects = tuple(one for one in expressions if _may_backtrack(one))
    if not suspects:
        return None
    by_role = {re.sub(r"\d+", "0", name): name for name in names}
    return _slow(suspects, tuple(sorted(by_role.values()))[:_NAMES])


def _may_backtrack(expression: str) -> bool:
    """Whether an expression can take more than quadratic time: one repetition alone can't."""
    repetitions = len(_QUANTIFIER.findall(expression))
    return repetitions > 1 or (repetitions == 1 and "|" in expression)


@lru_cache(maxsize=64)
def _slow(expressions: tuple[str, ...], names: tuple[str, ...]) -> str | None:
    try:
        subprocess.run(
            [sys.executable, "-I", "-S", "-c", _CHILD],
            input=json.dumps([expressions, names]).encode(),
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        begun = (error.stdout or b"0").split()
        return expressions[int(begun[-1])]
    return None
