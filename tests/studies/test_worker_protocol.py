import errno
import io
import json
import time

import pytest

from peftlens.errors import InputError
from peftlens.io.progress import bar, begin
from peftlens.runs.run import CorruptedRunError
from peftlens.runs.store import RunLockedError
from peftlens.studies import worker_protocol


def raiser(error):
    def action():
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (RunLockedError("taken"), "claimed", "taken"),
        (CorruptedRunError("flipped"), "damaged", "flipped"),
        (OSError(errno.ENOSPC, "No space", "out"), "disk", "No space: out"),
        (OSError(errno.EROFS, "Read-only"), "disk", "Read-only"),
        (FileNotFoundError(errno.ENOENT, "Gone", "x"), "failed", "[Errno 2] Gone: 'x'"),
        (InputError("rank=0"), "failed", "rank=0"),
        (RuntimeError("two\nlines"), "failed", "two lines"),
        (MemoryError(), "failed", "MemoryError"),
    ],
)  # fmt: skip
def test_whatever_is_raised_is_told(error, kind, told):
    outcome = worker_protocol.perform({"do": "it", "with": {}}, {"it": raiser(error)})
    assert outcome[kind] == told
    if kind == "failed":
        assert outcome["mendable"] is isinstance(error, InputError)
        assert "test_worker_protocol.py" in outcome["traceback"]


def test_an_interruption_is_not_an_outcome():
    for error in (KeyboardInterrupt(), SystemExit(143)):
        with pytest.raises(type(error)):
            worker_protocol.perform({"do": "it", "with": {}}, {"it": raiser(error)})


def work(times):
    begin("work")
    with bar("Working", times) as shown:
        for _ in range(times):
            shown.advance()
    return times


def test_one_line_a_task_and_signs_of_progress_in_between():
    tasks = '{"do": "work", "with": {"times": 2}}\n{"do": "work", "with": {"times": 3}}\n'
    replies = io.StringIO()
    worker_protocol.serve({"work": work}, 0, io.StringIO(tasks), replies)
    lines = [json.loads(line) for line in replies.getvalue().splitlines()]
    assert [line for line in lines if "at" not in line] == [{"done": 2}, {"done": 3}]
    assert lines[:2] == [
        {"at": "work", "done": 0, "total": 0},
        {"at": "Working", "done": 0, "total": 2},
    ]


def test_signs_are_few():
    told = []

    def long():
        with bar("Working", 1000) as shown:
            for _ in range(1000):
                shown.advance()
                time.sleep(0.0005)

    worker_protocol.watched({"do": "long", "with": {}}, {"long": long}, 60, told.append)
    assert 2 <= len(told) <= 20


class Gone(io.StringIO):
    def flush(self):
        raise BrokenPipeError


def test_without_a_supervisor_the_task_is_finished_and_no_other_begun():
    done = []
    tasks = '{"do": "it", "with": {}}\n' * 3
    worker_protocol.serve({"it": lambda: done.append(1)}, 0, io.StringIO(tasks), Gone())
    assert done == [1]
