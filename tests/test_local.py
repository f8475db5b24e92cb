import os
from collections import deque

import pytest

from peftlens.local import Here, Local
from peftlens.supervising import Job, Signals, supervise


def run(jobs, engine):
    return list(supervise(deque(jobs), engine, Signals()))


def see(name, number=0):
    task = {"do": "see", "with": {"name": name}}
    return Job(("see", str(number)), "", lambda: task)


def test_this_process_as_a_worker(fast):  # noqa: ARG001
    plan = {"text": '{"runs": 2}', "source": "", "dtypes": None, "trust": False, "full": False}
    (ended,) = run([Job(("plan", ""), "", lambda: {"do": "plan", "with": plan})], Here("fast"))
    assert len(ended.outcome["done"]["runs"]) == 2


def test_workers_are_started_once_and_see_their_variables(fast, tmp_path):  # noqa: ARG001
    engine = Local([{"FAST": "1"}, {"FAST": "2"}], module="fast")
    asked = [see("FAST", number) for number in range(6)]
    seen = [tuple(ended.outcome["done"]) for ended in run(asked, engine)]
    assert {value for _, value in seen} <= {"1", "2"}
    assert len(set(seen)) <= 2
    engine.reshape([{"FAST": "1"}])
    again = [tuple(ended.outcome["done"]) for ended in run(asked[:1], engine)]
    assert again[0] in seen or "1" not in {value for _, value in seen}
    engine.close(now=False)
    with pytest.raises(ProcessLookupError):
        os.kill(again[0][0], 0)
