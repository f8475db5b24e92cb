"""Cost of supervision: runs without training, a resumed study, memory.

python analyses/performance/study_overhead.py

The worker is that of the tests, tests/fast.py: a run is a folder with five small files.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from measurements import ROOT, write

CODE = """
import sys, threading, time
import psutil
from peftlens.studies import runner

def highest(pid):  # of resident memory; getrusage would tell the parent's from before exec, too
    with open(f"/proc/{pid}/status") as file:
        return next((int(line.split()[1]) for line in file if line.startswith("VmHWM")), 0) / 1024

def watch():
    while True:
        for child in psutil.Process().children():
            try:
                workers.append(highest(child.pid))
            except OSError:
                pass
        time.sleep(0.05)

workers = [0]
threading.Thread(target=watch, daemon=True).start()
started = time.perf_counter()
options = runner.StudyOptions(module="fast", workers=2, threads=1)
outcome = runner.run_study(sys.argv[1], sys.argv[2], options)
assert len(outcome.runs) == int(sys.argv[3]) and not outcome.failed, outcome.failed
print(time.perf_counter() - started, highest("self"), max(workers))
"""


def carried_out(runs: int, folder: Path) -> tuple[float, float, float]:
    """Seconds, and MB at the highest of the supervisor and of a worker."""
    file = folder.parent / f"{runs}.json"
    file.write_text(json.dumps({"runs": runs, "seconds": 0.0, "probe": True}), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(file), str(folder), str(runs)],
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    seconds, own, worker = map(float, done.stdout.split())
    return seconds, own, worker


def main() -> None:
    """Write reports/performance/study_overhead.csv."""
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for runs in (100, 1000, 10_000):
            new, own, worker = carried_out(runs, Path(temporary, str(runs)))
            again, _, _ = carried_out(runs, Path(temporary, str(runs)))
            rows.append(
                {"runs": runs, "seconds_all_new": round(new, 1),
                 "ms_per_run": round(1000 * new / runs, 1), "seconds_all_there": round(again, 1),
                 "supervisor_mb": round(own), "worker_mb": round(worker)}
            )  # fmt: skip
    write(__file__, rows)


if __name__ == "__main__":
    main()
