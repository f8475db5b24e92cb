import os
import signal
import time

import pytest

from peftlens.results.outcomes import Died, Done, Locked
from peftlens.studies.job_queue import Job, JobKey, JobQueue
from peftlens.studies.scheduler import Signals, Stopped, run_jobs
from peftlens.studies.worker_protocol import ProgressUpdate


class Script:
    """A pool that does nothing, and replies to each job what it was told to reply."""

    def __init__(self, slots, **replies):
        self.slots = slots
        self.given = []
        self.closed = set()
        self._replies = replies
        self._busy = {}

    def accepts(self, slot):
        return slot not in self.closed

    def submit(self, slot, request):
        assert slot not in self._busy
        self.given.append(request)
        self._busy[slot] = request

    def poll(self, seconds):  # noqa: ARG002
        self.closed.clear()  # whoever waits comes at last
        if not self._busy:
            return []
        slot, request = self._busy.popitem()
        reply = self._replies[request].pop(0) if request in self._replies else Done()
        return [(slot, ProgressUpdate(activity="a", completed=1, total=2)), (slot, reply)]

    def close(self, *, now):
        pass


def job(key, needs=None):
    """A job whose request is its key, for the script's sake."""
    return Job(JobKey("do", key), f"job {key}", lambda: key, JobKey("do", needs) if needs else None)


def run(jobs, engine):
    return list(run_jobs(JobQueue(jobs), engine, Signals()))


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
    died = Died(error_summary="killed", log="", is_retryable=True)
    hung = Died(error_summary="hung", log="", is_retryable=False)
    engine = Script(1, a=[died, Done(result=1)], b=[died, died], c=[hung])
    jobs = [job("a"), job("b"), job("c")]
    ended = {one.job.key.target: one.outcome for one in run(jobs, engine)}
    assert ended == {"a": Done(result=1), "b": died, "c": hung}
    assert engine.given == ["a", "a", "b", "b", "c"]


def test_what_another_process_is_at_is_looked_at_again_after_the_others():
    taken = Locked(error_summary="taken")
    engine = Script(1, a=[taken, Done(result=1)], b=[taken, taken])
    ended = run([job("a"), job("b"), job("c")], engine)
    assert engine.given == ["a", "b", "c", "a", "b"]
    assert [one.outcome for one in ended] == [Done(), Done(result=1), taken]


def test_a_request_is_built_when_its_job_begins():
    jobs = JobQueue([job("a"), Job(JobKey("do", "b"), "", lambda: f"after {len(seen)}")])
    seen = []
    engine = Script(1)
    for ended in run_jobs(jobs, engine, Signals()):
        seen.append(ended)
    assert engine.given == ["a", "after 1"]


def test_the_caller_may_add_jobs():
    jobs = JobQueue([job("a")])
    seen = []
    for ended in run_jobs(jobs, Script(1), Signals()):
        seen.append(ended.job.key.target)
        if len(seen) < 3:
            jobs.add(job(f"after {ended.job.key.target}"))
    assert seen == ["a", "after a", "after after a"]


def test_after_ctrl_c_nothing_new_is_begun():
    with Signals() as signals, pytest.raises(Stopped) as stopped:
        for ended in run_jobs(JobQueue([job("a"), job("b")]), Script(1), signals):
            assert (ended.job.key, ended.outcome) == (JobKey("do", "a"), Done())
            os.kill(os.getpid(), signal.SIGINT)
    assert stopped.value.code == 130


def test_sigterm_stops_at_once_and_handlers_are_given_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with Signals(), pytest.raises(Stopped) as stopped:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
    assert stopped.value.code == 143
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
