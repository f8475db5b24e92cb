import os
import signal
import time
from collections import deque

import pytest

from peftlens.studies.scheduler import Job, Signals, Stopped, run_jobs


class Script:
    """An engine that does nothing, and says of each job what it was told to say."""

    def __init__(self, slots, **messages):
        self.slots = slots
        self.given = []
        self.closed = set()
        self._messages = messages
        self._busy = {}

    def accepts(self, slot):
        return slot not in self.closed

    def submit(self, slot, task):
        assert slot not in self._busy
        self.given.append(task)
        self._busy[slot] = task

    def poll(self, seconds):  # noqa: ARG002
        self.closed.clear()  # whoever waits comes at last
        if not self._busy:
            return []
        slot, task = self._busy.popitem()
        said = self._messages.get(task, {"done": None})
        return [(slot, said.pop(0) if isinstance(said, list) else said)]

    def close(self, *, now):
        pass


def job(key, needs=None):
    """A job whose task is its key, for the script's sake."""
    return Job(("do", key), f"job {key}", lambda: key, ("do", needs) if needs else None)


def run(jobs, engine):
    return list(run_jobs(deque(jobs), engine, Signals()))


def test_every_job_ends_once():
    engine = Script(3)
    jobs = [job(str(n)) for n in range(10)]
    assert sorted(ended.job.key for ended in run(jobs, engine)) == sorted(one.key for one in jobs)
    assert len(engine.given) == 10


def test_slots_that_can_not_begin_yet_are_waited_for():
    engine = Script(2)
    engine.closed = {0, 1}
    assert len(run([job("a"), job("b")], engine)) == 2


def test_a_job_waits_for_what_it_needs():
    engine = Script(2)
    run([job("c", needs="b"), job("b", needs="a"), job("a"), job("d")], engine)
    assert engine.given.index("a") < engine.given.index("b") < engine.given.index("c")


def test_what_was_killed_is_tried_once_more_and_only_once():
    died = {"died": "killed", "again": True}
    engine = Script(1, a=[died, {"done": 1}], b=[died, died], c=[{"died": "hung", "again": False}])
    ended = {one.job.key[1]: one.outcome for one in run([job("a"), job("b"), job("c")], engine)}
    assert ended == {"a": {"done": 1}, "b": died, "c": {"died": "hung", "again": False}}
    assert engine.given == ["a", "a", "b", "b", "c"]


def test_what_another_process_is_at_is_looked_at_again_after_the_others():
    taken = {"claimed": "taken"}
    engine = Script(1, a=[taken, {"done": 1}], b=[taken, taken])
    ended = run([job("a"), job("b"), job("c")], engine)
    assert engine.given == ["a", "b", "c", "a", "b"]
    assert [one.outcome for one in ended] == [{"done": None}, {"done": 1}, taken]


def test_a_task_is_what_it_is_when_it_begins():
    jobs = deque([job("a"), Job(("do", "b"), "", lambda: f"after {len(seen)}")])
    seen = []
    engine = Script(1)
    for ended in run_jobs(jobs, engine, Signals()):
        seen.append(ended)
    assert engine.given == ["a", "after 1"]


def test_the_caller_may_add_jobs():
    jobs = deque([job("a")])
    seen = []
    for ended in run_jobs(jobs, Script(1), Signals()):
        seen.append(ended.job.key[1])
        if len(seen) < 3:
            jobs.append(job(f"after {ended.job.key[1]}"))
    assert seen == ["a", "after a", "after after a"]


def test_after_ctrl_c_nothing_new_is_begun():
    with Signals() as signals, pytest.raises(Stopped) as stopped:
        for ended in run_jobs(deque([job("a"), job("b")]), Script(1), signals):
            assert (ended.job.key, ended.outcome) == (("do", "a"), {"done": None})
            os.kill(os.getpid(), signal.SIGINT)
    assert stopped.value.code == 130


def test_sigterm_stops_at_once_and_handlers_are_given_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with Signals(), pytest.raises(Stopped) as stopped:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
    assert stopped.value.code == 143
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
