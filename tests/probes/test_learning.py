import pandas as pd
import pytest

import peftlens
from peftlens.probes import learning


@pytest.fixture
def run(bases, words, tmp_path):
    def train(method, steps, checkpoints):
        return peftlens.train(
            peftlens.RunConfig(
                method=method,
                task=f"file:{words}",
                base_model=str(bases["llama"]),
                training={
                    "max_steps": steps,
                    "learning_rate": 0.02,
                    "checkpoint_steps": checkpoints,
                },
                device="cpu",
                dtype="float32",
            ),
            tmp_path,
        )

    return train


def test_the_fall_is_paired_and_the_last_loss_is_the_runs_own(context, run):
    trained = run("full", 12, (0, 6))
    rows = learning.measure(context, trained)
    assert list(rows["step"]) == [0, 6, 12]
    assert rows["loss_decrease"].isna().tolist() == [True, False, False]
    assert rows["loss_decrease"][2] == pytest.approx(rows["loss"][0] - rows["loss"][2])
    assert rows["loss"][2] == pytest.approx(trained.record.results["validation_loss"])
    assert rows["accuracy"][2] == trained.record.results["validation_accuracy"]
    assert rows["label_loss"][2] == pytest.approx(trained.record.results["validation_label_loss"])
    assert rows["label_loss_decrease"][2] == pytest.approx(
        rows["label_loss"][0] - rows["label_loss"][2]
    )
    assert set(rows["learning_rate"]) == {0.02}
    assert rows["loss_decrease_ci_low"][2] > 0
    assert (
        rows["loss_decrease_ci_low"][2]
        < rows["loss_decrease"][2]
        < rows["loss_decrease_ci_high"][2]
    )


def test_nothing_learned_at_a_rate_of_almost_zero(context, run, tmp_path):
    config = run("lora", 2, (0,)).config
    still = config.model_copy(
        update={"training": config.training.model_copy(update={"learning_rate": 1e-12})}
    )
    rows = learning.measure(context, peftlens.train(still, tmp_path))
    assert abs(rows["loss_decrease"][1]) < 1e-6


def test_a_run_without_checkpoints_has_no_fall(context, run):
    rows = learning.measure(context, run("lora", 2, ()))
    assert len(rows) == 1
    assert pd.isna(rows["loss_decrease"][0])


def test_a_text_has_no_loss_among_answers(context, bases, words, tmp_path):
    config = peftlens.RunConfig(
        method="lora",
        task=f"file:{words}",
        base_model=str(bases["llama"]),
        training={"max_steps": 2, "checkpoint_steps": (0,)},
        device="cpu",
        dtype="float32",
        task_config={"kind": "language_modeling", "template": "{text}"},
    )
    rows = learning.measure(context, peftlens.train(config, tmp_path))
    missing = ["accuracy", "label_loss", "label_loss_decrease", "label_loss_decrease_ci_low"]
    assert rows[missing].isna().all(axis=None)
    assert rows["loss_decrease"].isna().tolist() == [True, False]
