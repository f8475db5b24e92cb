import peftlens
from peftlens.probes import task_items
from peftlens.run import RunConfig
from peftlens.tasks import load_task


def test_every_test_example_once_with_its_right_answer(bases, words, tmp_path):
    run = peftlens.train(
        RunConfig(method="full", task=f"file:{words}", base=str(bases["llama"]), device="cpu",
                  dtype="float32", training={"steps": 80, "learning_rate": 0.01}),
        tmp_path,
    )  # fmt: skip
    frame = task_items.measure(run)
    examples = load_task(f"file:{words}", {}).splits["test"]
    assert frame["item"].tolist() == list(range(len(examples)))
    assert frame["correct"].tolist() == [example.correct for example in examples]
    assert (frame["chosen"] == frame["correct"]).mean() > 0.8  # the task is learnt by heart
    assert (frame["loss"] > 0).all()
