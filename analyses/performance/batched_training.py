"""Several runs trained in one pass over the base model, and the same runs one after another.

python analyses/performance/batched_training.py [RUNS]

LoRA of ranks 1, 2, 4, ... on SmolLM2-135M, 20 steps of 16 headlines, on the device that there is.
Both in turn, twice; medians of the seconds of all steps.
"""

import statistics
import sys
import tempfile
from pathlib import Path

from measurements import in_turn, write

from peftlens.adapters.run_context import RunContext
from peftlens.runs.config import RunConfig
from peftlens.runs.run import Run
from peftlens.training import batched_trainer, trainer
from peftlens.training.run_plan import plan_run

STEPS, ROUNDS = 20, 2


def of_steps(runs: list[Run]) -> float:
    """Seconds of all steps of all runs; of one pass each run has its share."""
    return sum(line["seconds"] for run in runs for line in run.timing() if "step" in line)


def main() -> None:
    """Write reports/performance/batched_training.csv."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    context = RunContext()
    plans = [
        plan_run(
            RunConfig(method="lora", task="bbc_topic", method_config={"rank": 2**n}, seed=n,
                      training={"max_steps": STEPS, "batch_size": 16, "logging_steps": 1}),
            context,
        )
        for n in range(count)
    ]  # fmt: skip
    found: dict[str, list[Run]] = {}

    def one_pass() -> float:
        found["pass"] = batched_trainer.train_runs(plans, Path(tempfile.mkdtemp()))
        return of_steps(found["pass"])

    def in_sequence() -> float:
        folder = Path(tempfile.mkdtemp())
        found["alone"] = [trainer.train_run(one, folder) for one in plans]
        return of_steps(found["alone"])

    took = in_turn({"alone": in_sequence, "pass": one_pass}, ROUNDS)
    alone, passed = statistics.median(took["alone"]), statistics.median(took["pass"])
    losses = [
        [run.record.results["validation_loss"] for run in found[way]] for way in ("alone", "pass")
    ]
    write(
        __file__,
        [
            {"device": plans[0].base.device, "dtype": plans[0].base.dtype, "runs": count,
             "seconds_alone": round(alone, 1), "seconds_one_pass": round(passed, 1),
             "ratio": round(alone / passed, 2),
             "largest_difference_of_losses": round(
                 max(abs(a - b) for a, b in zip(*losses, strict=True)), 4)}
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
