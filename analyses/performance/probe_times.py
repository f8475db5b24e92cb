"""Seconds of every probe on one run of SmolLM2-135M, with its default options.

python analyses/performance/probe_times.py                        # an hour on two idle cores
python analyses/performance/probe_times.py --missing              # only rows that are missing
python analyses/performance/probe_times.py forgetting divergence  # only these
python analyses/performance/probe_times.py vocabulary             # only its preparation

A LoRA of rank 8 and a prompt of 20 vectors are trained on headlines for 20 steps, twice, with two
seeds. The cache folder is empty but for downloads. Each probe is measured with a base model that
has just been loaded, without the tables of other probes: on the first run, and then on the second.
The difference is what is prepared once for the base. The vocabulary's neighbors, clusters, states
and map, which several probes share, are prepared before, in the rows of run "base".
`processor_seconds` are those of all threads of the second run's, which other work on the machine
does not lengthen. Probes that only combine tables of other probes take as long as those.
"""

import csv
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from measurements import FOLDER, write

from peftlens.io.files import cache_dir

METHODS = {"lora": {"rank": 8}, "prompt_tuning": {}}
LIMIT = 20.0  # seconds above which a probe says what takes them
DOWNLOADS = ("models", "wheels", "numba")  # parts of the cache that are kept
VOCABULARY = (  # steps of its preparation
    "words and flags of tokens",
    "neighbors of tokens",
    "states of tokens",
    "clusters of tokens",
    "map of tokens",
)
_SUITES = (
    "most are matrix products of forward passes over 90,000 tokens, at the machine's rate; fewer "
    "tokens would widen the intervals"
)
_NULL = "forward passes behind {}, by which the result is tested; fewer would make a weaker test"
WHY = {
    "activation_difference": _NULL.format("random updates of equal norm"),
    "forgetting": _SUITES,
    "forgetting_items": _SUITES,
    "forgotten_tokens": _SUITES,
    "layer_ablation": "two forward passes for each of 30 blocks and for each random set, which "
    "already share the blocks below; fewer examples would widen the intervals",
    "patchscope": "most is the activation difference of the run and of random updates of its norm, "
    "which a study shares with the probe activation_difference",
    "prompt_elicitation": _NULL.format("100 random and 10 planted prompts"),
    "prompt_mixture": _NULL.format("19 random and 5 planted prompts"),
    "soft_prompt_faithfulness": "the test examples behind 24 prompts, of which each lacks a vector "
    "or has nearest tokens in its place; fewer examples would widen the intervals",
    "training_cost": "a process for each row, so that its memory is its own: two configurations, "
    "four lengths, three rounds",
    "update_survival": "passes in float32 through the base in five precisions, with the update and "
    "without it; fewer texts would widen the intervals",
    "weight_interpolation": "the suites of forgetting at six scales of the update, in float32; "
    "fewer tokens would widen the intervals",
}
Row = dict[str, Any]


def main(arguments: list[str]) -> None:
    """Write reports/performance/probe_times.csv, row by row."""
    names = [name for name in arguments if name != "--missing"]
    again = {*names} | ({*VOCABULARY} if "vocabulary" in names else set())
    before = existing() if arguments else []
    done = {(row["probe"], row["run"]): row for row in before if row["probe"] not in again}
    probes = [name for name in names if name != "vocabulary"] if names else measuring()
    with tempfile.TemporaryDirectory() as folder:
        use_empty_cache(Path(folder))
        import peftlens as pl

        for row in vocabulary_rows():
            done.setdefault((row["probe"], row["run"]), row)
        write(__file__, [*done.values()])
        for method, options in METHODS.items():
            runs = [trained(pl, method, options, seed, f"{folder}/runs") for seed in (0, 1)]
            for name in probes:
                if (name, method) not in done and (row := probe_row(name, method, runs)):
                    done[name, method] = row
                    write(__file__, [*done.values()])


def existing() -> list[Row]:
    """Read the rows that are there, without the machine that `write` adds."""
    file = FOLDER / "probe_times.csv"
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as source:
        return [{k: v for k, v in row.items() if k != "machine"} for row in csv.DictReader(source)]


def use_empty_cache(folder: Path) -> None:
    """Set a cache folder with nothing but links to what was downloaded or compiled."""
    for name in DOWNLOADS:
        (folder / name).symlink_to(cache_dir(name))
    os.environ["PEFTLENS_CACHE"] = str(folder)


def measuring() -> list[str]:
    """Return the names of the probes that measure runs, and do not only combine tables."""
    from peftlens import registry

    return [
        name
        for name in registry.names("probes")
        if hasattr(probe := registry.load("probes", name), "measure") or hasattr(probe, "compare")
    ]


def trained(pl: Any, method: str, options: Mapping[str, Any], seed: int, folder: str) -> Any:
    """Train one run for a few steps."""
    config = pl.RunConfig(
        method=method,
        method_config=options,
        task="bbc_topic",
        seed=seed,
        base_model="smollm2-135m",
        training={"max_steps": 20, "batch_size": 8},
    )
    return pl.train(config, folder)


def vocabulary_rows() -> list[Row]:
    """Prepare the vocabulary, step by step, and read it again as another process would."""
    from peftlens.models.base_model import load_base_model
    from peftlens.vocab.clusters import clusters
    from peftlens.vocab.projection import vocabulary_map
    from peftlens.vocab.vocabulary import graph, states, vocabulary

    steps = dict(
        zip(VOCABULARY, (vocabulary, graph, states, clusters, vocabulary_map), strict=True)
    )
    first, second = load_base_model("smollm2-135m"), load_base_model("smollm2-135m")
    cold = {name: times(lambda step=step: step(first)) for name, step in steps.items()}
    warm = {name: times(lambda step=step: step(second)) for name, step in steps.items()}
    for part in (cold, warm):
        clock, processor = zip(*part.values(), strict=True)
        part["vocabulary"] = sum(clock), sum(processor)
    return [row_of(name, "base", warm[name], cold[name][0] - warm[name][0]) for name in cold]


def probe_row(name: str, method: str, runs: list[Any]) -> Row | None:
    """Measure a probe on the first run and on the second; None where it does not apply."""
    from peftlens import registry
    from peftlens.adapters.run_context import RunContext
    from peftlens.errors import InputError
    from peftlens.evaluation.probe_runner import collect
    from peftlens.vocab.vocabulary import vocabulary

    for run in runs:
        shutil.rmtree(run.table_folder, ignore_errors=True)
    context = RunContext()
    vocabulary(context.base_model(runs[0]))
    together = hasattr(registry.load("probes", name), "compare")
    tables: list[Any] = []
    try:
        cold, alone = (
            times(lambda those=those: tables.append(collect(context, those, name)))
            for those in ([runs, runs] if together else [[run] for run in runs])
        )
    except InputError as error:  # it needs an option, or a package
        print(f"{name}: {error}")
        return None
    frame = tables[-1].frame
    if frame.empty or (not together and (frame["status"] != "measured").all()):
        return None
    return row_of(name, method, alone, max(0.0, cold[0] - alone[0]))


def times(action: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds of a call by the clock, and of the processor."""
    started, worked = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - started, time.process_time() - worked


def row_of(name: str, run: str, alone: tuple[float, float], preparation: float) -> Row:
    """Make a row of the table."""
    over = alone[0] > LIMIT
    return {
        "probe": name,
        "run": run,
        "seconds": round(alone[0], 1),
        "processor_seconds": round(alone[1], 1),
        "preparation_seconds": round(preparation, 1),
        "over_20_s": "yes" if over else "no",
        "why_not_halved": WHY.get(name, "") if over else "",
    }


if __name__ == "__main__":
    main(sys.argv[1:])
