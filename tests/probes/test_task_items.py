import numpy as np
import pandas as pd
import pytest

import peftlens
from peftlens.errors import InputError
from peftlens.evaluation import probe_runner
from peftlens.probes import task_items
from peftlens.runs.config import RunConfig
from peftlens.tasks import load_task


def test_every_test_example_once_with_its_right_answer(context, bases, words, tmp_path):
    run = peftlens.train(
        RunConfig(method="full", task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
                  dtype="float32", training={"max_steps": 80, "learning_rate": 0.01}),
        tmp_path,
    )  # fmt: skip
    frame = task_items.measure(context, run)
    examples = load_task(f"file:{words}", {}).splits["test"]
    assert frame["item"].tolist() == list(range(len(examples)))
    assert frame["correct"].tolist() == [example.correct for example in examples]
    assert (frame["chosen"] == frame["correct"]).mean() > 0.8  # the task is learned by heart
    assert (frame["loss"] > 0).all()
    assert (frame["label_loss"] <= frame["loss"] * 5).all()  # " down" has five tokens
    assert not frame["tied"].any()
    right = [example.correct for example in load_task(f"file:{words}", {}).splits["train"]]
    assert set(frame["majority"]) == {int(sum(right) > len(right) / 2)}
    assert set(frame["majority_class"]) == {["down", "up"][frame["majority"][0]]}
    assert set(frame["n_answers"]) == {2}


def test_a_model_that_prefers_one_label_is_corrected(context, bases, words, tmp_path, monkeypatch):
    """It finds " up" likelier by 3 nats whatever it reads, and tells the labels apart by 1."""
    run = peftlens.train(
        RunConfig(method="frozen", task=f"file:{words}", base_model=str(bases["llama"]),
                  device="cpu", dtype="float32"),
        tmp_path,
    )  # fmt: skip
    test = load_task(f"file:{words}", {}).splits["test"]
    up = test[0].answers.index(" up")
    preference = np.where(np.arange(2) == up, 3.0, 0.0)
    signal = np.array([np.arange(2) == example.correct for example in test])
    monkeypatch.setattr(
        "peftlens.evaluation.log_likelihood.log_probabilities",
        lambda *_: (signal + preference - 20).ravel(),
    )
    frame = task_items.measure(context, run)
    assert set(frame["chosen"]) == {up}
    assert (frame["chosen_calibrated"] == frame["correct"]).all()
    wrong = np.array([example.correct != up for example in test])
    expected = np.where(wrong, np.log1p(np.e**2), np.log1p(np.e**-4))
    assert frame["label_loss"].to_numpy() == pytest.approx(expected)


def test_language_modeling_has_a_loss_and_nothing_to_choose(context, bases, words, tmp_path):
    run = peftlens.train(
        RunConfig(
            method="frozen",
            task=f"file:{words}",
            base_model=str(bases["llama"]),
            device="cpu",
            dtype="float32",
            task_config={"kind": "language_modeling", "template": "{text}"},
        ),
        tmp_path,
    )
    frame = task_items.measure(context, run)
    assert frame.drop(columns=["item", "loss"]).isna().all(axis=None)
    assert (frame["loss"] > 0).all()
    (row,) = probe_runner.collect(context, [run], "task_accuracy").frame.to_dict("records")
    assert row["n_items"] == 24
    assert row["loss"] > 0
    # missing: 100 % would be a wrong number
    assert pd.isna([row[name] for name in ("accuracy", "label_loss", "majority_accuracy")]).all()


def test_data_that_changed_since_is_refused(context, bases, words, tmp_path):
    data = tmp_path / "words.jsonl"
    data.write_text(words.read_text())
    run = peftlens.train(
        RunConfig(
            method="frozen", task=f"file:{data}", base_model=str(bases["llama"]), device="cpu"
        ),
        tmp_path / "runs",
    )
    data.write_text(words.read_text().replace("good", "nice"))
    with pytest.raises(InputError, match="was trained on other data"):
        task_items.measure(context, run)
