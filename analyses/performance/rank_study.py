"""Runs per hour of a study of ranks, rates and seeds: peftlens and one process per run.

python analyses/performance/rank_study.py [BASE]

LoRA on headlines with SmolLM2-135M or another base, 40 steps of 16, on the device that there is.
peftlens carries the whole study out by one command, with a validation of all answers to every item.
The peer, peer.py, trains each run in a process of its own, from a folder of the converted weights,
and computes the validation loss; a few of the same runs stand for all of them, spread over the time
of the study. Accuracy is that of these runs on 300 test examples, scored in the same way.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import peft
from measurements import seconds, write

from peftlens.adapters.run_context import RunContext
from peftlens.data.collate import Collator
from peftlens.evaluation.log_likelihood import choose
from peftlens.models.base_model import load_base_model, locate
from peftlens.runs.run import Run, runs_in
from peftlens.tasks import load_task

BASE = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m"
RANKS, RATES, SEEDS = (1, 8, 64), (1e-3, 2e-3), (0, 1)
STEPS, BATCH = 40, 16
STUDY = f"""
name = "rank study"
base_model = "{BASE}"
seeds = {list(SEEDS)}
probes = ["parameter_count"]
[task]
name = "bbc_topic"
[training]
max_steps = {STEPS}
batch_size = {BATCH}
[[runs]]
method = "lora"
grid = {{ rank = {list(RANKS)}, learning_rate = {list(RATES)} }}
"""
SAME = [(1, 1e-3, 0), (8, 2e-3, 1), (64, 1e-3, 1)]  # rank, rate and seed of the peer's runs


def peer(folder: Path, dtype: str, rank: int, rate: float, seed: int) -> float:
    """Seconds of one run."""
    script = Path(__file__).with_name("peer.py")
    arguments = [locate(BASE), folder / "data.json", folder / f"{dtype}-{rank}",
                 rank, rate, seed, STEPS, BATCH, dtype]  # fmt: skip
    command = [sys.executable, str(script), *map(str, arguments)]
    return seconds(partial(subprocess.run, command, check=True, capture_output=True))


def main() -> None:
    """Write reports/performance/rank_study.csv."""
    context, task = RunContext(), load_task("bbc_topic", {})
    base = context.base_models.get(BASE)
    encoder = Collator.of(base, 256)
    test, _ = encoder.items(task.splits["test"][:300])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rows = {
            name: [(one.prompt, one.answers[one.correct]) for one in task.splits[name]]
            for name in ("train", "validation")
        }
        (folder / "data.json").write_text(json.dumps(rows), encoding="utf-8")
        (folder / "study.toml").write_text(STUDY, encoding="utf-8")
        # on a GPU nobody has to train in float32
        dtypes = list(
            dict.fromkeys((base.dtype if base.device == "cuda" else "float32", base.dtype))
        )
        took: dict[str, list[float]] = {dtype: [] for dtype in dtypes}
        right: dict[str, list[float]] = {dtype: [] for dtype in [*dtypes, "peftlens"]}

        def beside(number: int) -> None:
            for dtype in dtypes:
                took[dtype].append(peer(folder, dtype, *SAME[number]))

        beside(0)
        command = ["peftlens", "study", str(folder / "study.toml"), "--out", str(folder / "out")]
        own = seconds(partial(subprocess.run, command, check=True, capture_output=True))
        beside(1)
        beside(2)
        runs = runs_in(folder / "out" / "runs")
        for rank, rate, seed in SAME:
            for dtype in dtypes:
                plain = load_base_model(BASE, dtype=base.dtype)
                model = peft.PeftModel.from_pretrained(plain.model, folder / f"{dtype}-{rank}")
                right[dtype].append(accuracy(model, encoder, test))
            with context.open_run(_like(runs, rank, rate, seed)) as model:
                right["peftlens"].append(accuracy(model, encoder, test))
    count = len(runs)
    assert count == len(RANKS) * len(RATES) * len(SEEDS)
    each = {f"peft + Trainer, {dtype}": statistics.mean(times) for dtype, times in took.items()}
    each["peftlens"] = own / count
    write(
        __file__,
        [
            {"way": way, "runs_measured": count if way == "peftlens" else len(SAME),
             "seconds_a_run": round(one, 1), "runs_per_hour": round(3600 / one),
             "ratio": round(one / each["peftlens"], 2),
             "accuracy": " ".join(f"{share:.3f}" for share in right[way.rpartition(" ")[2]])}
            for way, one in each.items()
        ],
    )  # fmt: skip


def _like(runs: list[Run], rank: int, rate: float, seed: int) -> Run:
    """The run of a study with these."""
    (found,) = (
        run
        for run in runs
        if (run.rank, run.config.training.learning_rate, run.config.seed) == (rank, rate, seed)
    )
    return found


def accuracy(model, encoder: Collator, items: list) -> float:
    """Share of items answered right."""
    scored = choose(model.eval(), encoder, items)
    return float(np.mean(scored.by_sum == scored.correct))


if __name__ == "__main__":
    main()
