"""A process that does what a supervisor sends, a line of JSON at a time, and outlives no hang.

Tasks come in on standard input: {"do": name of an action, "with": its arguments}. Out go signs of
progress, {"at": what, "done": n, "total": n}, and one outcome a task: see `perform`. All else that
is printed goes to standard error, which the supervisor keeps for the record of a failure.
"""

import faulthandler
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, TextIO

from peftlens.errors import InputError
from peftlens.io.progress import progress_listener
from peftlens.results.outcomes import Message
from peftlens.runs.run import CorruptedRunError
from peftlens.runs.store import DISK, RunLockedError

Actions = Mapping[str, Callable[..., Any]]
Task = Mapping[str, Any]
_OFTEN = 0.2  # seconds between two signs of progress; a step of a tiny model takes a hundredth


def perform(task: Task, actions: Actions) -> Message:
    """Do a task, whatever happens.

    Returns:
        One of `done`: what the action returned; `claimed`: another process is at it; `damaged`: a
        file of the run that it reads is not as it was written; `disk`: it is full or may not be
        written to; `failed`: the error in a line, with `error`, its type and text, `traceback`,
        and `mendable`, whether the user can mend it.
    """
    try:
        return {"done": actions[task["do"]](**task["with"])}
    except Exception as error:  # noqa: BLE001  # one failure must not cost the other runs
        return outcome_of(error)


def outcome_of(error: Exception) -> Message:
    """What `perform` returns where this was raised."""
    if isinstance(error, RunLockedError):
        return {"claimed": str(error)}
    if isinstance(error, CorruptedRunError):
        return {"damaged": str(error)}
    if isinstance(error, OSError) and error.errno in DISK:
        where = f": {error.filename}" if error.filename else ""
        return {"disk": f"{error.strerror}{where}", "errno": error.errno}
    return {
        "failed": " ".join(str(error).split()) or type(error).__name__,
        "error": f"{type(error).__name__}: {error}",
        "traceback": "".join(traceback.format_exception(error)),
        "mendable": isinstance(error, InputError),
    }


def watched(
    task: Task, actions: Actions, limit: float, tell: Callable[[Message], object]
) -> Message:
    """The same, with signs of progress for the supervisor.

    Args:
        task: what to do.
        actions: what a task may ask for.
        limit: seconds without progress after which the process ends itself, and prints where every
            thread of it was; 0 for never.
        tell: takes the signs.
    """
    last = 0.0

    def sign(what: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > _OFTEN or done == 0:
            last = time.monotonic()
            _watch(limit)
            tell({"at": what, "done": done, "total": total})

    _watch(limit)
    try:
        with progress_listener(sign):
            return perform(task, actions)
    finally:
        faulthandler.cancel_dump_traceback_later()


def serve(actions: Actions, limit: float, tasks: TextIO, replies: TextIO) -> None:
    """Do one task after another, until there are no more or nobody is there to be told.

    Whoever loses the supervisor finishes what it is at, so that nothing of it is lost.

    Args:
        actions: what a task may ask for.
        limit: see `watched`.
        tasks: a line each.
        replies: where signs of progress and outcomes go.
    """

    def tell(message: Message) -> bool:
        """Write a line; False where the supervisor is gone."""
        try:
            replies.write(json.dumps(message) + "\n")
            replies.flush()
        except BrokenPipeError:
            return False
        return True

    for line in tasks:
        if not tell(watched(json.loads(line), actions, limit, tell)):
            return


def _watch(limit: float) -> None:
    """Start the clock anew. It runs outside of Python: native code that hangs can't stop it."""
    if limit:
        faulthandler.dump_traceback_later(limit, exit=True)


def _leave(number: int, _: FrameType | None) -> None:
    """Clean up and go. A second signal, as when a whole group is told, does not disturb that."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def main(actions: Actions) -> None:
    """Serve on this process's standard streams."""
    signal.signal(signal.SIGTERM, _leave)
    faulthandler.enable()
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(actions, float(sys.argv[1]), sys.stdin, replies)
