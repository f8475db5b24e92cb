import os
import time
from collections import deque
from types import SimpleNamespace

import pytest

from peftlens.studies.local_pool import InProcessPool, LocalPool
from peftlens.studies.scheduler import Job, Signals, run_jobs


def run(jobs, engine):
    return list(run_jobs(deque(jobs), engine, Signals()))


def see(name, number=0):
    task = {"do": "see", "with": {"name": name}}
    return Job(("see", str(number)), "", lambda: task)


def test_this_process_as_a_worker(fast):  # noqa: ARG001
    plan = {"text": '{"runs": 2}', "source": "", "dtypes": None, "trust": False, "full": False}
    (ended,) = run(
        [Job(("plan", ""), "", lambda: {"do": "plan", "with": plan})], InProcessPool("fast")
    )
    assert len(ended.outcome["done"]["runs"]) == 2


def test_workers_are_started_once_and_see_their_variables(fast, tmp_path):  # noqa: ARG001
    engine = LocalPool([{"FAST": "1"}, {"FAST": "2"}], module="fast")
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


@pytest.mark.parametrize(
    ("code", "told"),
    [(-9, "killed by SIGKILL"), (137, "killed by SIGKILL"), (255, "by itself, with code 255"),
     (7, "by itself, with code 7")],
)  # fmt: skip
def test_how_a_worker_died(code, told, tmp_path):
    with (tmp_path / "log").open("w+b") as log:
        process = SimpleNamespace(returncode=code)
        worker = SimpleNamespace(process=process, heard=time.monotonic(), log=log, begun=0, at="")
        assert told in LocalPool([{}])._death(worker)["died"]
