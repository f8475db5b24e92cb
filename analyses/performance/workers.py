"""Runs per hour of one real study, by workers and threads of each, on this machine.

python analyses/performance/workers.py [RUNS]

LoRA on smollm2-135m, 20 steps of 16 headlines, a seed a run; the time of the whole command, with
its start and the loading of the base in each worker. Run it with nothing beside it.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STUDY = """
name = "workers"
seeds = {seeds}
probes = ["parameter_count"]
[task]
name = "bbc_topic"
[training]
steps = 20
[[runs]]
method = "lora"
"""


def seconds(file: Path, *options: str) -> float:
    """Of `peftlens study` into a folder of its own."""
    with tempfile.TemporaryDirectory() as out:
        command = ["peftlens", "study", str(file), "--out", f"{out}/study", *options]
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - started


def main() -> None:
    """Print a Markdown table; the ratios are to one worker with one thread."""
    runs, cores = int(sys.argv[1]) if len(sys.argv) > 1 else 8, len(os.sched_getaffinity(0))
    ways = {
        "1 worker, 1 thread": ("--workers", "1", "--threads", "1"),
        f"1 worker, {cores} threads": ("--workers", "1", "--threads", str(cores)),
        "the default": (),
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "workers.toml")
        file.write_text(STUDY.format(seeds=list(range(runs))))
        print("| way | s | runs an hour | ratio |\n|---|---|---|---|")
        first = None
        for way, options in ways.items():
            took = seconds(file, *options)
            first = first or took
            cells = f"{took:.0f} | {3600 * runs / took:.0f} | {first / took:.2f}"
            print(f"| {way} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
