import os
import signal
import time
from collections import deque

import pytest

from peftlens.supervising import Ended, Here, Job, Local, Signals, Stopped, supervise


class Script:
    """An engine that does nothing, and says of each job what it was told to say."""

    def __init__(self, slots, **messages):
        self.slots = slots
        self.given = []
        self.closed = set()
        self._messages = messages
        self._busy = {}

    def takes(self, slot):
        return slot not in self.closed

    def give(self, slot, job):
        assert slot not in self._busy
        self.given.append(job.key)
        self._busy[slot] = job

    def poll(self, seconds):  # noqa: ARG002
        self.closed.clear()  # whoever waits comes at last
        if not self._busy:
            return []
        slot, job = self._busy.popitem()
        said = self._messages.get(job.key, {"done": None})
        return [(slot, said.pop(0) if isinstance(said, list) else said)]

    def close(self, *, now):
        pass


def job(key, needs=None):
    return Job(key, f"job {key}", {"do": "it", "with": {}}, needs)


def run(jobs, engine):
    return list(supervise(deque(jobs), engine, Signals()))


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
    ended = {one.job.key: one.outcome for one in run([job("a"), job("b"), job("c")], engine)}
    assert ended == {"a": {"done": 1}, "b": died, "c": {"died": "hung", "again": False}}
    assert engine.given == ["a", "a", "b", "b", "c"]


def test_what_another_process_is_at_is_looked_at_again_after_the_others():
    taken = {"claimed": "taken"}
    engine = Script(1, a=[taken, {"done": 1}], b=[taken, taken])
    ended = run([job("a"), job("b"), job("c")], engine)
    assert engine.given == ["a", "b", "c", "a", "b"]
    assert [one.outcome for one in ended] == [{"done": None}, {"done": 1}, taken]


def test_the_caller_may_add_jobs():
    jobs = deque([job("a")])
    seen = []
    for ended in supervise(jobs, Script(1), Signals()):
        seen.append(ended.job.key)
        if len(seen) < 3:
            jobs.append(job(f"after {ended.job.key}"))
    assert seen == ["a", "after a", "after after a"]


def test_after_ctrl_c_nothing_new_is_begun():
    with Signals() as signals, pytest.raises(Stopped) as stopped:
        for ended in supervise(deque([job("a"), job("b")]), Script(1), signals):
            assert ended == Ended(job("a"), {"done": None})
            os.kill(os.getpid(), signal.SIGINT)
    assert stopped.value.code == 130


def test_sigterm_stops_at_once_and_handlers_are_given_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with Signals(), pytest.raises(Stopped) as stopped:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
    assert stopped.value.code == 143
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_this_process_as_a_worker(fast):  # noqa: ARG001
    plan = {"text": '{"runs": 2}', "source": "", "dtypes": None, "trust": False}
    (ended,) = run([Job("plan", "", {"do": "plan", "with": plan})], Here("fast"))
    assert len(ended.outcome["done"]["runs"]) == 2


def test_workers_are_started_once_and_see_their_variables(fast, tmp_path):  # noqa: ARG001
    engine = Local([{"FAST": "1"}, {"FAST": "2"}], module="fast")
    asked = [Job(str(n), "", {"do": "see", "with": {"name": "FAST"}}) for n in range(6)]
    seen = [tuple(ended.outcome["done"]) for ended in run(asked, engine)]
    assert {value for _, value in seen} <= {"1", "2"}
    assert len(set(seen)) <= 2
    engine.reshape([{"FAST": "1"}])
    again = [tuple(ended.outcome["done"]) for ended in run(asked[:1], engine)]
    assert again[0] in seen or "1" not in {value for _, value in seen}
    engine.close(now=False)
    with pytest.raises(ProcessLookupError):
        os.kill(again[0][0], 0)
