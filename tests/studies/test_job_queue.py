"""Order of jobs, and makespans worked out by hand, on simulated workers."""

import sys
from dataclasses import replace

import pytest
from simulated_pool import SimulatedPool, job, makespan

from peftlens.studies.durations import Work
from peftlens.studies.job_queue import JobKey


def training(name, operations):
    return (Work((name, "training"), operations),)


def known(name, seconds, **rest):
    """A job whose forecast is right."""
    return job(name, seconds, training(name, seconds), **rest)


def test_the_longest_run_is_begun_first():
    """120 s of work on two workers take at least 60 s; in the order of the file 80 s."""
    times = [("short", 10)] * 8 + [("long", 40)]
    names = [f"{name} {number}" for number, (name, _) in enumerate(times)]
    known_jobs = [known(name, seconds) for name, (_, seconds) in zip(names, times, strict=True)]
    pool = SimulatedPool(2)
    assert makespan(pool, known_jobs) == 60
    assert pool.begun[0] == "long 8"
    unknown = [job(name, seconds) for name, (_, seconds) in zip(names, times, strict=True)]
    assert makespan(SimulatedPool(2), unknown) == 40 + 40


def test_a_chain_counts_with_all_that_waits_for_it():
    """Three runs of 10 s, one after the other, beside three others: 30 s, and 40 s by the file."""
    others = [known(f"other {number}", 10) for number in range(3)]
    chain = [known("a", 10), known("b", 10, needs="a"), known("c", 10, needs="b")]
    for jobs in (others + chain, others + chain[::-1]):
        pool = SimulatedPool(2)
        assert makespan(pool, jobs) == 30
        assert pool.begun[0] == "a"
    unknown = [replace(one, work=()) for one in others + chain]
    assert makespan(SimulatedPool(2), unknown) == 40


def test_a_run_counts_with_its_longest_probe():
    """10 s of training and a probe of 30 s, beside three runs of 15 s: 45 s, and 55 s otherwise.

    85 s of work take 42.5 s at least; three runs of 15 s can't be divided.
    """
    probe = job("probe", 30, (Work(("probe",), 30.0),))
    others = [known(name, 15) for name in "bcd"]

    def follow(result):
        return [probe] if result.job.key.target == "a" else []

    first = known("a", 10, follow_up=probe.work)
    assert makespan(SimulatedPool(2), [*others, first], follow) == 45
    assert makespan(SimulatedPool(2), [*others, known("a", 10)], follow) == 55


def measuring(run, seconds, forecast=None):
    """A job of several probes, which takes the sum of their times, or is split into them."""
    probes = {f"probe {number}": taken for number, taken in enumerate(seconds)}

    def part(names):
        work = tuple(
            Work((f"{name} of {run}", name), forecast or float(probes[name])) for name in names
        )
        one = job(f"{run} {names[0]}", sum(probes[name] for name in names), work)
        key = JobKey("measure", run, names[0])
        return replace(one, key=key, split=lambda: [part([name]) for name in names])

    return part([*probes])


def test_probes_of_the_last_run_are_shared():
    """Six probes of 10 s on two workers take 30 s, and on four 20 s."""
    for workers, least in ((1, 60), (2, 30), (4, 20)):
        assert makespan(SimulatedPool(workers), [measuring("a", [10] * 6)]) == least


def test_the_longest_probe_comes_first():
    """1 + 1 + 2 + 4 s take 4 s on two workers; in the order of the file 5 s."""
    one = [job("a", 1, (Work(("a",), 1.0),))]  # gives the scale
    assert makespan(SimulatedPool(2), one) == 1
    assert makespan(SimulatedPool(2), [measuring("a", [1, 1, 2, 4])]) == 4


def test_probes_stay_together_while_there_is_other_work():
    """A run is opened for all its probes at once, until the other worker would have to wait."""
    pool = SimulatedPool(2)
    queue = pool.queue()
    for number in range(6):  # their times are known then
        work = Work((f"probe {number} of z", f"probe {number}"), 1.0)
        queue.durations.record(work, 1.0)
    queue.extend(measuring(run, [1] * 6) for run in "abcdefgh")
    sizes = []
    while one := queue.take(2):
        sizes.append(len(one.work))
        queue.end(one, done=True)
    assert sum(sizes) == 8 * 6
    assert sizes[:6] == [6] * 6  # two runs of 6 s are left, the work of one run for each worker
    assert sizes[6:] == [1] * 12
    assert makespan(SimulatedPool(2), [measuring(run, [1] * 6) for run in "abcdefgh"]) == 24


def test_what_nobody_knows_yet_is_tried_first():
    """The first run's probes come before further training; then the longer work does."""
    pool = SimulatedPool(1)

    def follow(result):
        run = result.job.key.target
        return [measuring(run, [1, 1])] if result.job.key.kind == "do" else []

    makespan(pool, [known("a", 30), known("b", 20), known("c", 10)], follow)
    # known by then, the probes come last, those of a run in one job
    assert pool.begun == ["a", "a probe 0", "a probe 1", "b", "c", "b probe 0", "c probe 0"]


def test_a_wrong_forecast_is_corrected_by_the_first_times():
    """Runs of y take ten times as long as those of x, and not a tenth of it."""
    x = [job(f"x{n}", 1, training("x", 100.0)) for n in range(4)]
    y = [job(f"y{n}", 10, training("y", 10.0)) for n in range(4)]
    queue = SimulatedPool(1).queue(x[1:] + y[1:])
    first = queue.take(1)
    assert first.key.target == "x1"
    queue.durations.record(x[0].work[0], 1.0)
    queue.durations.record(y[0].work[0], 10.0)
    queue.end(first, done=False)
    assert [queue.take(1).key.target for _ in range(4)] == ["y1", "y2", "y3", "x2"]


def test_a_job_whose_need_is_not_there_can_begin():
    assert makespan(SimulatedPool(1), [job("b", 2, needs="finished before")]) == 2


def test_time_left_by_hand():
    pool = SimulatedPool(2)
    probe = Work(("probe",), 6.0)
    queue = pool.queue(
        [known("a", 10, follow_up=(probe,)), known("b", 4), known("c", 4, needs="b")]
    )
    assert queue.seconds_left(2) is None  # nothing has ended
    queue.durations.record(training("a", 10.0)[0], 10.0)
    assert queue.seconds_left(2) is None  # no probe has ended
    queue.durations.record(probe, 6.0)
    assert queue.seconds_left(1) == 10 + 6 + 4 + 4
    assert queue.seconds_left(2) == 16  # a and its probe, beside b and c
    a = queue.take(2)
    pool.now = 7
    assert a.key.target == "a"
    assert queue.seconds_left(2) == 16 - 7
    assert queue.seconds_left(1) == 24 - 7
    pool.now = 15  # it takes longer than expected
    assert queue.seconds_left(2) == max(6, 8, (6 + 8) / 2)
    queue.end(a, done=True)
    assert queue.worked == 15


def test_failed_work_says_nothing_about_times():
    pool = SimulatedPool(1)
    queue = pool.queue([known("a", 10)])
    failed = queue.take(1)
    pool.now = 1
    queue.end(failed, done=False)
    assert not queue.durations.is_known(failed.work[0])


def test_jobs_are_taken_out_again():
    pool = SimulatedPool(1)
    queue = pool.queue([known("a", 3), known("b", 2, needs="a"), known("c", 1)])
    a = queue.take(1)
    assert queue.discard(lambda one: one.needs == a.key)[0].key.target == "b"
    assert (len(queue), [one.key.target for one in queue]) == (1, ["c"])


@pytest.mark.parametrize("chain", [False, True])
def test_work_grows_with_the_number_of_jobs(chain):
    """Sorting them again costs n log n in all: ten times the jobs take far less than 100 times."""

    def calls(number):
        needs = [f"{n - 1}" if chain and n else None for n in range(number)]
        jobs = [known(f"{n}", n % 7 + 1.0, needs=needs[n]) for n in range(number)]
        queue, made = SimulatedPool(8).queue(jobs), 0

        def count(_frame, event, _argument):
            nonlocal made
            made += event in ("call", "c_call")

        before = sys.getprofile()
        sys.setprofile(count)
        try:
            while taken := queue.take(8):
                queue.end(taken, done=True)
        finally:
            sys.setprofile(before)
        assert not queue
        return made

    assert calls(2000) < 20 * calls(200)
