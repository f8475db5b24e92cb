from types import SimpleNamespace

import pandas as pd

from peftlens.probes.cost import measure
from peftlens.runs.config import RunConfig


def test_adam_holds_two_moments_of_every_trained_number(context, lora):
    row = measure(context, lora).iloc[0]
    trained = lora.record.results["trainable_parameters"]
    # and its count of steps, one number for each tensor
    assert row["optimizer_state_bytes"] == 8 * trained + 4 * 12
    assert row["learning_rate"] == lora.config.training.learning_rate
    assert row["validation_accuracy"] == lora.record.results["validation_accuracy"]
    assert row["peak_memory_bytes"] == lora.timing()[-1]["peak_memory_bytes"]
    assert row["training_seconds"] == lora.timing()[-1]["seconds"]


def test_weights_of_the_base_in_bfloat16_have_copies(context, trained):
    run = trained("full", dtype="bfloat16")
    held = measure(context, run)["optimizer_state_bytes"][0]
    assert 12 <= held / run.record.results["trainable_parameters"] < 12.1


class Timed:
    """A run with these times of its steps, and of all of them."""

    def __init__(self, *seconds):
        self._lines = [{"step": n, "seconds": one} for n, one in enumerate(seconds, 1)]
        self.config = RunConfig(method="lora", task="none")
        self.record = SimpleNamespace(results={})

    def timing(self):
        return [*self._lines, {"seconds": 99.0, "peak_memory_bytes": None}]


def test_the_interval_of_a_median_is_between_order_statistics(context):
    """Of ten times the second and the ninth: both are missed with probability 2 * 11 / 2 ** 10."""
    row = measure(context, Timed(50.0, *range(1, 11))).iloc[0]
    assert row["step_seconds"] == 5.5
    assert (row["step_seconds_ci_low"], row["step_seconds_ci_high"]) == (2, 9)
    assert row["n_steps"] == 10  # without the first, which warms up


def test_five_steps_have_no_interval(context):
    row = measure(context, Timed(50.0, *range(1, 6))).iloc[0]
    assert row["n_steps"] == 5
    assert pd.isna(row["step_seconds_ci_low"])


def test_a_run_that_trains_nothing_has_no_step(context, trained):
    row = measure(context, trained("frozen")).iloc[0]
    assert pd.isna(row["step_seconds"])
    assert pd.isna(row["optimizer_state_bytes"])
    assert row["validation_loss"] > 0
