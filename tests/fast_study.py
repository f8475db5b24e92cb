"""Studies with the worker of fast.py: begin them, wait for them, look at what they left."""

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from peftlens.runs.run import runs_in
from peftlens.studies import runner
from peftlens.studies.runner import StudyOptions

SCRIPT = """
import sys
from peftlens.studies import runner
from peftlens.studies.scheduler import Stopped
file, out, options = sys.argv[1:]
try:
    outcome = runner.run_study(file, out, runner.StudyOptions(module="fast", **eval(options)))
except Stopped as stopped:
    sys.exit(stopped.code)
except OSError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
sys.exit(1 if outcome.failed else 0)
"""


def start(file, out, **how):
    """Carry a study out in a process group of its own."""
    options = {"workers": 1, "threads": 1} | how
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(file), str(out), repr(options)],
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, seconds=120):
    _, err = process.communicate(timeout=seconds)
    return process.returncode, err


def carried_out(file, out, **how):
    return runner.run_study(
        file, out, StudyOptions(module="fast", **{"workers": 1, "threads": 1} | how)
    )


def contents(runs):
    """Every byte of the finished runs."""
    return {
        str(file.relative_to(runs)): file.read_bytes()
        for run in runs_in(runs)
        for file in sorted(run.path.rglob("*"))
        if file.is_file()
    }


def attempts(out):
    """How often each run was begun."""
    return Counter(map(int, (out / "attempts").read_text().split()))


def workers_of(process):
    """Worker processes that the supervisor has started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        pids = [int(pid) for pid in children.read_text().split()]
        return [pid for pid in pids if _runs_python(pid)]
    except OSError:
        return []


def _runs_python(pid):
    """The supervisor also asks git, once, which commit it is."""
    return b"python" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
