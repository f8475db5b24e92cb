import errno
import io
import json
import math
import os
import time

import pytest

from peftlens.errors import InputError
from peftlens.io.progress import bar, begin
from peftlens.results.outcomes import Corrupted, DiskError, Done, Failed, Locked
from peftlens.runs.config import RunConfig
from peftlens.runs.lock import RunLockedError
from peftlens.runs.run import CorruptedRunError
from peftlens.studies import worker_protocol
from peftlens.studies.worker_protocol import (
    MeasureRequest,
    PlanRequest,
    ProgressUpdate,
    TableRequest,
    TrainBatchRequest,
    TrainRequest,
)

CONFIG = RunConfig(method="lora", task="wiki", training={"checkpoint_steps": [0, 2]})


def request(text="", source="study.toml"):
    return PlanRequest(
        text=text, source=source, dtypes=None, full_scale=False, trust_remote_code=False
    )


@pytest.mark.parametrize(
    "sent",
    [
        request(),
        TrainRequest(run="a", config=CONFIG, folder="runs", trust_remote_code=True),
        TrainBatchRequest(configs={"a": CONFIG}, folder="runs", trust_remote_code=True),
        MeasureRequest(
            run="runs/a", probes=["cost"], probe_options={"cost": {"top": math.inf}},
            trust_remote_code=False,
        ),
        TableRequest(
            probe="cost", runs=["runs/a", os.fsdecode(b"runs/\xff")], labels={"a": "lora"},
            probe_options={}, file="cost.parquet", trust_remote_code=False,
        ),
    ],
    ids=lambda sent: sent.kind,
)  # fmt: skip
def test_a_request_as_a_line_and_back(sent):
    line = worker_protocol.to_line(sent)
    assert line.isascii()
    assert line.count("\n") == 1
    assert worker_protocol.REQUESTS.validate_python(json.loads(line)) == sent


@pytest.mark.parametrize(
    "sent",
    [ProgressUpdate(activity="Training", completed=1, total=2), Done(result=["a", None]),
     Locked(error_summary=os.fsdecode(b"\xff"))],
    ids=lambda sent: sent.kind,
)  # fmt: skip
def test_a_reply_as_a_line_and_back(sent):
    assert worker_protocol.parse_reply(worker_protocol.to_line(sent)) == sent


def raiser(error):
    def action():
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "kind", "summary"),
    [
        (RunLockedError("taken"), Locked, "taken"),
        (CorruptedRunError("flipped"), Corrupted, "flipped"),
        (OSError(errno.ENOSPC, "No space", "out"), DiskError, "No space: out"),
        (OSError(errno.EROFS, "Read-only"), DiskError, "Read-only"),
        (FileNotFoundError(errno.ENOENT, "Gone", "x"), Failed, "[Errno 2] Gone: 'x'"),
        (InputError("rank=0"), Failed, "rank=0"),
        (RuntimeError("two\nlines"), Failed, "two lines"),
        (MemoryError(), Failed, "MemoryError"),
    ],
)  # fmt: skip
def test_whatever_is_raised_is_an_outcome(error, kind, summary):
    outcome = worker_protocol.perform(raiser(error))
    assert type(outcome) is kind
    assert outcome.error_summary == summary
    if isinstance(outcome, DiskError):
        assert outcome.errno == error.errno
    if isinstance(outcome, Failed):
        assert outcome.is_input_error is isinstance(error, InputError)
        assert outcome.error == f"{type(error).__name__}: {error}"
        assert "test_worker_protocol.py" in outcome.traceback


def test_what_is_returned_is_the_result():
    assert worker_protocol.perform(divmod, 7, 2) == Done(result=(3, 1))


def test_an_interruption_is_not_an_outcome():
    for error in (KeyboardInterrupt(), SystemExit(143)):
        with pytest.raises(type(error)):
            worker_protocol.perform(raiser(error))


def work(request):
    times = int(request.text)
    begin("work")
    with bar("Working", times) as shown:
        for _ in range(times):
            shown.advance()
    return times


def test_an_outcome_for_each_request_and_progress_in_between():
    requests = io.StringIO("".join(worker_protocol.to_line(request(text)) for text in "23"))
    lines = io.StringIO()
    worker_protocol.serve({"plan": work}, 0, requests, lines)
    replies = [worker_protocol.parse_reply(line) for line in lines.getvalue().splitlines()]
    outcomes = [reply for reply in replies if not isinstance(reply, ProgressUpdate)]
    assert outcomes == [Done(result=2), Done(result=3)]
    assert replies[:2] == [
        ProgressUpdate(activity="work", completed=0, total=0),
        ProgressUpdate(activity="Working", completed=0, total=2),
    ]


def test_progress_updates_are_few():
    updates = []

    def long(_):
        with bar("Working", 1000) as shown:
            for _ in range(1000):
                shown.advance()
                time.sleep(0.0005)

    worker_protocol.perform_with_watchdog(request(), {"plan": long}, 60, updates.append)
    assert 2 <= len(updates) <= 20


class Gone(io.StringIO):
    def flush(self):
        raise BrokenPipeError


def test_without_a_supervisor_the_job_is_finished_and_no_other_begun():
    done = []
    requests = io.StringIO(worker_protocol.to_line(request()) * 3)
    worker_protocol.serve({"plan": done.append}, 0, requests, Gone())
    assert done == [request()]
