"""Training the top of a model with cached states below, and with states recomputed.

python analyses/performance/top_layers.py

SmolLM2-135M on 160 headlines, 10 steps of 16 an epoch: the first epoch reads what is held, the
others are read from it. Both in turn, twice; medians of seconds. The losses at the end are beside.
"""

import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

from measurements import in_turn, write

import peftlens
from peftlens.training import trainer

EPOCH, EPOCHS, ROUNDS = 10, 4, 2
TOP_SIX = [f"layers.{i}.self_attn.{part}_proj" for i in range(24, 30) for part in "qv"]
METHODS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("LoRA in the top six of 30 blocks", "lora", {"rank": 8, "target_modules": TOP_SIX}),
    ("the last six blocks", "last_layers", {"blocks": 6}),
    ("the last two blocks", "last_layers", {"blocks": 2}),
)
HELD, NOT_HELD = 1.0, 1e9  # values of trainer.MIN_CACHED_EPOCHS


def trained(epochs: float, method: str, options: dict[str, Any], times: list[list[float]]) -> float:
    """Validation loss; the seconds of each step are added to `times`."""
    trainer.MIN_CACHED_EPOCHS = epochs
    config = peftlens.RunConfig(
        method=method, task="bbc_topic", method_config=options, device="cpu",
        task_config={"split": {"max_train": 16 * EPOCH}},
        training={"max_steps": EPOCH * EPOCHS, "batch_size": 16, "logging_steps": 1,
                  "learning_rate": 1e-3},
    )  # fmt: skip
    run = peftlens.train(config, tempfile.mkdtemp())
    times.append([line["seconds"] for line in run.timing() if "step" in line])
    return run.record.results["validation_loss"]


def main() -> None:
    """Write reports/performance/top_layers.csv."""
    rows = []
    for what, method, options in METHODS:
        times: dict[str, list[list[float]]] = {"plain": [], "held": []}
        ways: dict[str, Callable[[], float]] = {
            way: partial(trained, epochs, method, options, times[way])
            for way, epochs in (("plain", NOT_HELD), ("held", HELD))
        }
        losses = in_turn(ways, ROUNDS)
        first, later = (
            {
                way: statistics.median(sum(one[part]) for one in found)
                for way, found in times.items()
            }
            for part in (slice(EPOCH), slice(EPOCH, None))
        )
        rows.append(
            {"what": what, "first_epoch_ratio": round(first["plain"] / first["held"], 2),
             "later_ratio": round(later["plain"] / later["held"], 2),
             "later_seconds_a_step": round(later["held"] / EPOCH / (EPOCHS - 1), 3),
             "loss_plain": round(losses["plain"][0], 4), "loss_held": round(losses["held"][0], 4)}
        )  # fmt: skip
        print(rows[-1], flush=True)
    write(__file__, rows)


if __name__ == "__main__":
    main()
