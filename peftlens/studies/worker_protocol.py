"""Worker process: executes JSON requests from stdin and exits after a stall timeout.

Requests come in on standard input, a line each. Out go progress updates and one outcome for each
request. All else that is printed goes to standard error, which the supervisor keeps for the record
of a failure.
"""

import faulthandler
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal, TextIO

from pydantic import Field, TypeAdapter

from peftlens.errors import InputError
from peftlens.io.progress import progress_listener
from peftlens.results.outcomes import (
    Corrupted,
    DiskError,
    Done,
    Failed,
    Locked,
    Message,
    Outcome,
)
from peftlens.runs.config import RunConfig
from peftlens.runs.run import CorruptedRunError
from peftlens.runs.store import DISK, RunLockedError

_REPORT_INTERVAL = 0.2  # seconds between two updates; a step of a tiny model takes a hundredth


class PlanRequest(Message):
    """Plan a study; the result is a `plan.StudyPlan`.

    Attributes:
        text: text of the study's file.
        source: name of the file, for errors.
        dtypes: meaning of dtype="auto" by device, from an earlier call; measured where missing.
        full_scale: plan the larger study of the file's table [full_scale].
        trust_remote_code: run Python from the base model's folder.
    """

    kind: Literal["plan"] = "plan"
    text: str
    source: str
    dtypes: dict[str, str] | None
    full_scale: bool
    trust_remote_code: bool


class TrainRequest(Message):
    """Train a run; the result is a line about it.

    Attributes:
        run: id that the study's plan has for it.
        config: configuration of the run.
        folder: folder of all runs.
        trust_remote_code: run Python from the base model's folder.
    """

    kind: Literal["train"] = "train"
    run: str
    config: RunConfig
    folder: Path
    trust_remote_code: bool


class TrainBatchRequest(Message):
    """Train several runs in one pass over the base model; the result is a line for each, by id.

    Attributes:
        configs: configurations, by run id.
        folder: folder of all runs.
        trust_remote_code: run Python from the base model's folder.
    """

    kind: Literal["train_batch"] = "train_batch"
    configs: dict[str, RunConfig]
    folder: Path
    trust_remote_code: bool


class MeasureRequest(Message):
    """Measure a finished run; the result holds the outcome of each unfinished probe, by name.

    Attributes:
        run: folder of the run.
        probes: names of the probes, in the order of measuring.
        probe_options: values of the probes' Configs, by probe.
        trust_remote_code: run Python from the base model's folder.
    """

    kind: Literal["measure"] = "measure"
    run: Path
    probes: tuple[str, ...]
    probe_options: dict[str, dict[str, Any]]
    trust_remote_code: bool


class TableRequest(Message):
    """Write a probe's table over finished runs; there is no result.

    Attributes:
        probe: name of the probe.
        runs: folders of the runs, in the order of the rows.
        labels: names of the configurations, by run id.
        probe_options: values of the probes' Configs, by probe.
        file: path of the table.
        trust_remote_code: run Python from the base model's folder.
    """

    kind: Literal["table"] = "table"
    probe: str
    runs: tuple[Path, ...]
    labels: dict[str, str]
    probe_options: dict[str, dict[str, Any]]
    file: Path
    trust_remote_code: bool


class ProgressUpdate(Message):
    """Progress of the present job.

    Attributes:
        activity: the present part of it.
        completed: finished steps of that part.
        total: number of its steps; 0 announces an activity without a count.
    """

    kind: Literal["progress"] = "progress"
    activity: str
    completed: int
    total: int


Request = PlanRequest | TrainRequest | TrainBatchRequest | MeasureRequest | TableRequest
Reply = ProgressUpdate | Outcome
Actions = Mapping[str, Callable[[Any], Any]]  # by kind of request

REQUESTS: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="kind")])
REPLIES: TypeAdapter[Reply] = TypeAdapter(Annotated[Reply, Field(discriminator="kind")])
PROBE_OUTCOMES: TypeAdapter[dict[str, Outcome]] = TypeAdapter(dict[str, Outcome])


def to_line(message: Message) -> str:
    """A message as a line of ASCII, for names of files need not be valid Unicode."""
    return json.dumps(message.model_dump(mode="json")) + "\n"


def parse_reply(line: str) -> Reply:
    """The reply that a line holds."""
    return REPLIES.validate_python(json.loads(line))


def perform(action: Callable[..., Any], *arguments: Any) -> Outcome:
    """Call an action; an error that it raises becomes an outcome too."""
    try:
        return Done(result=action(*arguments))
    except Exception as error:  # noqa: BLE001  # one failure must not cost the other runs
        return outcome_of_error(error)


def outcome_of_error(error: Exception) -> Failed | Locked | Corrupted | DiskError:
    """The outcome of an action that raised this error."""
    match error:
        case RunLockedError():
            return Locked(error_summary=str(error))
        case CorruptedRunError():
            return Corrupted(error_summary=str(error))
        case OSError(errno=int(number)) if number in DISK:
            where = f": {error.filename}" if error.filename else ""
            return DiskError(error_summary=f"{error.strerror}{where}", errno=number)
    return Failed(
        error_summary=" ".join(str(error).split()) or type(error).__name__,
        error=f"{type(error).__name__}: {error}",
        traceback="".join(traceback.format_exception(error)),
        is_input_error=isinstance(error, InputError),
    )


def perform_with_watchdog(
    request: Request,
    actions: Actions,
    stall_timeout: float,
    report: Callable[[ProgressUpdate], object],
) -> Outcome:
    """Perform a request, report its progress, and end this process where there is none.

    Args:
        request: the job.
        actions: the worker's actions.
        stall_timeout: seconds without progress after which the process prints where every thread
            of it is and exits; 0 for never.
        report: takes the updates.
    """
    reported = 0.0

    def listen(activity: str, completed: int, total: int) -> None:
        nonlocal reported
        if time.monotonic() - reported > _REPORT_INTERVAL or completed == 0:
            reported = time.monotonic()
            _restart_watchdog(stall_timeout)
            report(ProgressUpdate(activity=activity, completed=completed, total=total))

    _restart_watchdog(stall_timeout)
    try:
        with progress_listener(listen):
            return perform(actions[request.kind], request)
    finally:
        faulthandler.cancel_dump_traceback_later()


def serve(actions: Actions, stall_timeout: float, requests: TextIO, replies: TextIO) -> None:
    """Perform one request after another, until there are no more or nobody reads the replies.

    A worker that loses its supervisor finishes the present job, so that nothing of it is lost.

    Args:
        actions: the worker's actions.
        stall_timeout: see `perform_with_watchdog`.
        requests: a line each.
        replies: takes progress updates and outcomes, a line each.
    """

    def send(reply: Reply) -> bool:
        """Write a line; False where the supervisor is gone."""
        try:
            replies.write(to_line(reply))
            replies.flush()
        except BrokenPipeError:
            return False
        return True

    for line in requests:
        request = REQUESTS.validate_python(json.loads(line))
        if not send(perform_with_watchdog(request, actions, stall_timeout, send)):
            return


def _restart_watchdog(stall_timeout: float) -> None:
    """Start the clock again. It runs outside of Python: native code that hangs can't stop it."""
    if stall_timeout:
        faulthandler.dump_traceback_later(stall_timeout, exit=True)


def _exit_on_signal(number: int, _: FrameType | None) -> None:
    """Clean up and exit; a second signal, as when a whole group gets it, does not disturb that."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def main(actions: Actions) -> None:
    """Serve on this process's standard streams."""
    signal.signal(signal.SIGTERM, _exit_on_signal)
    faulthandler.enable()
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(actions, float(sys.argv[1]), sys.stdin, replies)
