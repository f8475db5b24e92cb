"""Workers that take no time: each job has a known duration, and a clock jumps to its end."""

import heapq

from peftlens.results.outcomes import Done
from peftlens.studies.job_queue import Job, JobKey, JobQueue
from peftlens.studies.scheduler import Signals, run_jobs


class SimulatedPool:
    """Pool whose requests are pairs of a name and the job's seconds.

    Attributes:
        now: simulated time in seconds.
        begun: names of the jobs, in the order in which they began.
    """

    def __init__(self, slots):
        self.slots = slots
        self.now = 0.0
        self.begun = []
        self._busy = []

    def accepts(self, slot):  # noqa: ARG002
        return True

    def submit(self, slot, request):
        name, seconds = request
        self.begun.append(name)
        heapq.heappush(self._busy, (self.now + seconds, slot))

    def poll(self, seconds):  # noqa: ARG002
        self.now, slot = heapq.heappop(self._busy)
        return [(slot, Done())]

    def queue(self, jobs=()):
        return JobQueue(jobs, clock=lambda: self.now)


def job(name, seconds, work=(), follow_up=(), needs=None):
    """A job that takes so long, whatever its work is expected to take."""
    return Job(
        JobKey("do", name), name, lambda: (name, seconds), needs and JobKey("do", needs),
        work, follow_up,
    )  # fmt: skip


def makespan(pool, jobs, follow=lambda _: ()):
    """Carry all jobs out and return the time that it took; `follow` gives jobs that come after."""
    queue = pool.queue(jobs)
    for result in run_jobs(queue, pool, Signals()):
        queue.extend(follow(result))
    return pool.now
