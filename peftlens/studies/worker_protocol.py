"""Worker process: executes JSON requests from stdin and exits after a stall timeout.

Standard input takes one request per line; standard output returns progress updates and one outcome
per request. All other output goes to standard error, which the supervisor keeps for records of
failures.
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
from peftlens.runs.lock import RunLockedError
from peftlens.runs.run import CorruptedRunError
from peftlens.runs.store import DISK

_REPORT_INTERVAL = 0.2  # seconds between updates; a step of a tiny model takes only 0.01 s


class PlanRequest(Message):
    """Request to plan a study; the result is a `plan.StudyPlan`.

    Attributes:
        text: text of the study's file.
        source: name of the file, for errors.
        dtypes: meaning of dtype="auto" by device, from an earlier call; measured where missing.
        compiled: whether runs of earlier calls were to be compiled, by id.
        full_scale: whether to plan the larger study of the file's table [full_scale].
        trust_remote_code: whether to run Python from the base model's folder.
    """

    kind: Literal["plan"] = "plan"
    text: str
    source: str
    dtypes: dict[str, str] | None
    compiled: dict[str, bool] = Field(default_factory=dict)
    full_scale: bool
    trust_remote_code: bool


class TrainRequest(Message):
    """Request to train a run, or to resume it; the result is a one-line summary.

    Attributes:
        run: id of the run in the study's plan.
        config: configuration of the run.
        folder: folder of all runs.
        trust_remote_code: whether to run Python from the base model's folder.
        compiled: whether the blocks of the base are compiled, where they can be.
        until: step after which the run is scored on the validation split and paused, see
            `paused.PausedRun`; None to train it to its end.
    """

    kind: Literal["train"] = "train"
    run: str
    config: RunConfig
    folder: Path
    compiled: bool = False
    trust_remote_code: bool
    until: int | None = None


class TrainBatchRequest(Message):
    """Request to train several runs in one pass; the result holds one-line summaries, by id.

    Attributes:
        configs: configurations, by run id.
        folder: folder of all runs.
        trust_remote_code: whether to run Python from the base model's folder.
        until: step after which the runs are scored and paused; see `TrainRequest`.
    """

    kind: Literal["train_batch"] = "train_batch"
    configs: dict[str, RunConfig]
    folder: Path
    trust_remote_code: bool
    until: int | None = None


class MeasureRequest(Message):
    """Request to measure a finished run; the result holds outcomes of unfinished probes, by name.

    Attributes:
        run: folder of the run.
        probes: names of the probes, in the order of measuring.
        probe_options: values of the probes' Configs, by probe.
        trust_remote_code: whether to run Python from the base model's folder.
    """

    kind: Literal["measure"] = "measure"
    run: Path
    probes: tuple[str, ...]
    probe_options: dict[str, dict[str, Any]]
    trust_remote_code: bool


class TableRequest(Message):
    """Request to write a probe's table over finished runs; the result holds reasons of failed runs.

    Attributes:
        probe: name of the probe.
        runs: folders of the runs, in the order of the rows.
        labels: names of the configurations, by run id.
        probe_options: values of the probes' Configs, by probe.
        unmeasured: reasons of the runs on which probes have just failed, by probe and run id.
        file: path of the table.
        trust_remote_code: whether to run Python from the base model's folder.
    """

    kind: Literal["table"] = "table"
    probe: str
    runs: tuple[Path, ...]
    labels: dict[str, str]
    probe_options: dict[str, dict[str, Any]]
    unmeasured: dict[str, dict[str, str]] = Field(default_factory=dict)
    file: Path
    trust_remote_code: bool


class ProgressUpdate(Message):
    """Progress of the present job.

    Attributes:
        activity: name of the present part of the job.
        completed: number of finished steps of that part.
        total: number of all steps of that part; 0 for a part without a count.
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
    """Encode a message as a line of ASCII, as file names need not be valid Unicode."""
    return json.dumps(message.model_dump(mode="json")) + "\n"


def parse_reply(line: str) -> Reply:
    """Decode the reply in a line."""
    return REPLIES.validate_python(json.loads(line))


def perform(action: Callable[..., Any], *arguments: Any) -> Outcome:
    """Call an action and return its outcome; a raised error becomes an outcome too."""
    try:
        return Done(result=action(*arguments))
    except Exception as error:  # noqa: BLE001  # one failure must not cost the other runs
        return outcome_of_error(error)


def outcome_of_error(error: Exception) -> Failed | Locked | Corrupted | DiskError:
    """Return the outcome of an action that raised this error."""
    match error:
        case RunLockedError():
            return Locked(error_summary=str(error))
        case CorruptedRunError():
            return Corrupted(error_summary=str(error))
        case OSError(errno=int(number)) if number in DISK:
            file = f": {error.filename}" if error.filename else ""
            return DiskError(error_summary=f"{error.strerror}{file}", errno=number)
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
    """Perform a request, report its progress, and end this process if it stalls.

    Args:
        request: request to perform.
        actions: actions of the worker.
        stall_timeout: seconds without progress after which the process prints the stack of every
            thread and exits; 0 for never.
        report: receiver of progress updates.
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
    """Perform requests in turn, until the input ends or the supervisor is gone.

    A worker without a supervisor finishes its present job first, so that no work is lost.

    Args:
        actions: actions of the worker.
        stall_timeout: seconds without progress before exit; see `perform_with_watchdog`.
        requests: stream of requests, one per line.
        replies: stream for progress updates and outcomes, one per line.
    """

    def send(reply: Reply) -> bool:
        """Write a reply; return False if the supervisor is gone."""
        try:
            replies.write(to_line(reply))
            replies.flush()
        except OSError:  # a broken pipe, which Windows calls an invalid argument
            return False
        return True

    for line in requests:
        request = REQUESTS.validate_python(json.loads(line))
        if not send(perform_with_watchdog(request, actions, stall_timeout, send)):
            return


def _restart_watchdog(stall_timeout: float) -> None:
    """Restart the timer, which runs outside of Python: hung native code can't block it."""
    if stall_timeout:
        faulthandler.dump_traceback_later(stall_timeout, exit=True)


def _exit_on_signal(number: int, _: FrameType | None) -> None:
    """Exit with cleanup, and ignore a second signal, as a process group may receive it twice."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def main(actions: Actions) -> None:
    """Serve requests on this process's standard streams."""
    signal.signal(signal.SIGTERM, _exit_on_signal)
    faulthandler.enable()
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(actions, float(sys.argv[1]), sys.stdin, replies)
