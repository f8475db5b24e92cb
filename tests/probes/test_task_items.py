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
    assert frame["chosen"].isna().all()
    assert (frame["loss"] > 0).all()
    (row,) = probe_runner.collect(context, [run], "task_accuracy").frame.to_dict("records")
    assert row["n_items"] == 24
    assert row["loss"] > 0
    assert row["accuracy"] != row["accuracy"]  # missing: 100 % would be a wrong number


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
