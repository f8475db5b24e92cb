import pandas as pd

from peftlens.probes.cost import measure


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


def test_a_run_that_trains_nothing_has_no_step(context, trained):
    row = measure(context, trained("frozen")).iloc[0]
    assert pd.isna(row["step_seconds"])
    assert pd.isna(row["optimizer_state_bytes"])
    assert row["validation_loss"] > 0
