"""Runs per hour of one real study, by number of workers and threads, on this machine.

python analyses/performance/workers.py [RUNS]

LoRA on smollm2-135m, 20 steps of 16 headlines, a seed a run; the time of the whole command, with
its start and the loading of the base in each worker. Run it with nothing beside it.
"""

import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from measurements import seconds, write

STUDY = """
name = "workers"
seeds = {seeds}
probes = ["parameter_count"]
[task]
name = "bbc_topic"
[training]
max_steps = 20
[[runs]]
method = "lora"
"""


def study(file: Path, *options: str) -> float:
    """Seconds of `peftlens study` into a folder of its own."""
    with tempfile.TemporaryDirectory() as out:
        command = ["peftlens", "study", str(file), "--out", f"{out}/study", *options]
        return seconds(partial(subprocess.run, command, check=True, capture_output=True))


def main() -> None:
    """Write reports/performance/workers.csv; the ratios are to one worker with one thread."""
    runs, cores = int(sys.argv[1]) if len(sys.argv) > 1 else 8, len(os.sched_getaffinity(0))
    ways = {
        "1 worker, 1 thread": ("--workers", "1", "--threads", "1"),
        f"1 worker, {cores} threads": ("--workers", "1", "--threads", str(cores)),
        "the default": (),
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "workers.toml")
        file.write_text(STUDY.format(seeds=list(range(runs))), encoding="utf-8")
        took = {way: study(file, *options) for way, options in ways.items()}
    first = took["1 worker, 1 thread"]
    rows = [
        {"way": way, "runs": runs, "seconds": round(own), "runs_per_hour": round(3600 * runs / own),
         "ratio": round(first / own, 2)}
        for way, own in took.items()
    ]  # fmt: skip
    write(__file__, rows)


if __name__ == "__main__":
    main()
