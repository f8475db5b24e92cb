"""Stages of a study of many runs, each in a process of its own; see scale.py.

python analyses/performance/scale_study.py STAGE RUNS FOLDER

The runs are folders of the true layout with made-up measurements: five probes' tables, of which one
has a row for each of 100 test examples. Prints seconds of processor time and the process's highest
memory in bytes.
"""

import contextlib
import io
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).parents[2]
RATES, SEEDS = 10, 10
PROBES = ("task_accuracy", "task_items", "parameter_count", "cost", "rank_chart",
          "paired_accuracy", "forgetting", "learning")  # fmt: skip
TEXT = """
name = "scale"
base_model = "smollm2-135m"
device = "cpu"
dtype = "bfloat16"
seeds = {seeds}
probes = {probes}
[task]
name = "bbc_topic"
[training]
max_steps = 40
[[runs]]
method = "lora"
grid = {{ rank = {ranks}, learning_rate = {rates} }}
"""


def text(runs: int) -> str:
    """Return a study file of so many runs, a multiple of 100: ranks, learning rates and seeds."""
    rates = [round(1e-4 * (number + 1), 6) for number in range(RATES)]
    ranks = list(range(1, runs // (RATES * SEEDS) + 1))
    return TEXT.format(
        seeds=list(range(SEEDS)), probes=json.dumps(PROBES), ranks=ranks, rates=rates
    )


def seconds(action: Callable[[], object]) -> float:
    """Return the processor time of a call, on which other work of the machine has little effect.

    It is not in measurements.py, which loads torch, whose memory would count.
    """
    started = time.process_time()
    action()
    return time.process_time() - started


def build(runs: int, folder: Path) -> None:
    """Write the study's folder: runs as trained and measured, without tables over them."""
    sys.path.insert(0, str(ROOT / "tests"))
    import finished

    from peftlens.evaluation.probe_runner import describe
    from peftlens.results.study_index import write_index
    from peftlens.runs.configuration_names import configurations

    names = [name for name in PROBES if describe(name, {}).each_run]
    configs = [
        finished.lora(rank, seed, round(1e-4 * (rate + 1), 6))
        for rank in range(1, runs // (RATES * SEEDS) + 1)
        for rate in range(RATES)
        for seed in range(SEEDS)
    ]
    with patch("os.fsync", lambda _: None):  # nothing depends on these files
        made = [
            finished.measured_run(folder / "runs", config, number, names)
            for number, config in enumerate(configs)
        ]
    labels = configurations(one.record for one in made)
    index = {
        "name": "scale",
        "runs": [one.id for one in made],
        "configurations": labels,
        "names": {one.id: f"{labels[one.id]} seed={one.config.seed}" for one in made},
        "probes": list(PROBES),
    }
    write_index(folder, index)
    (folder / "study.toml").write_text(text(runs), encoding="utf-8")


def plan(runs: int, _: Path) -> float:
    """Plan the study."""
    from peftlens.adapters.run_context import RunContext
    from peftlens.studies.grid import plan_study

    context = RunContext()
    plan_study(text(100), "scale.toml", context)  # the base model and the data are there
    return seconds(lambda: plan_study(text(runs), "scale.toml", context).to_plan())


def scan(_: int, folder: Path) -> float:
    """Find the finished runs, as each call of a study does first."""
    from peftlens.results.study_index import read_index
    from peftlens.runs import store

    ids = read_index(folder)["runs"]
    return seconds(lambda: store.finished(folder / "runs", ids))


def tables(_: int, folder: Path) -> float:
    """Make the tables over all runs from those in their folders, as a worker does."""
    from peftlens.adapters.run_context import RunContext
    from peftlens.evaluation.probe_runner import describe
    from peftlens.results.configurations import configurations_table
    from peftlens.results.study_index import read_index
    from peftlens.results.table_cache import TableCache
    from peftlens.runs.run import Run
    from peftlens.studies import worker
    from peftlens.studies.worker_protocol import TableRequest

    labels = read_index(folder)["configurations"]
    paths = tuple(folder / "runs" / run for run in labels)
    cache = TableCache(folder / "tables", [describe(name, {}) for name in PROBES])
    context = RunContext()

    def make() -> None:
        cache.write(configurations_table([Run(path) for path in paths], labels))
        for probe, file in cache.stale(labels):
            request = TableRequest(
                probe=probe, runs=paths, labels=labels, probe_options={}, unmeasured={},
                file=file, trust_remote_code=False,
            )  # fmt: skip
            worker.write_table(context, request)

    return seconds(make)


def command(*arguments: str) -> Callable[[int, Path], float]:
    """Return a stage that carries out a command of peftlens on the study's folder."""

    def call() -> None:
        from peftlens import cli

        with contextlib.redirect_stdout(io.StringIO()):
            try:
                cli.main()
            except SystemExit as end:
                if end.code:
                    raise RuntimeError(f"{sys.argv} ended with {end.code}") from end

    def run(_: int, folder: Path) -> float:
        sys.argv = ["peftlens", *(argument.format(folder=folder) for argument in arguments)]
        return seconds(call)

    return run


STAGES: dict[str, Callable[[int, Path], float]] = {
    "planning": plan,
    "finished runs found": scan,
    "tables over all runs": tables,
    "study status": command("study", "status", "{folder}"),
    "table": command("table", "{folder}"),
    "study verify": command("study", "verify", "{folder}"),
    "report": command("report", "{folder}", "--out", "{folder}/report.html"),
}


def highest_memory() -> int:
    """Return the highest memory of this process in bytes; getrusage tells the parent's, too."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    highest = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return 1024 * int(highest.split()[1])


def disk(folder: Path) -> tuple[int, int]:
    """Return the number of files and folders, and the bytes that their blocks take."""
    found = [*folder.rglob("*")]
    return len(found), sum(512 * os.lstat(path).st_blocks for path in found)


def main() -> None:
    """Carry out one stage in this process."""
    stage, runs, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    print(STAGES[stage](runs, folder), highest_memory())


if __name__ == "__main__":
    main()
