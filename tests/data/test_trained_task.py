from peftlens.data.task import Example, build
from peftlens.data.trained_task import trained_task
from peftlens.runs.config import RunConfig


def test_labels_are_shuffled_and_canaries_planted():
    examples = [Example(f"word {n}", (" up", " down"), n % 2) for n in range(60)]
    task = build("x", "classification", examples)
    assert trained_task(task, RunConfig(method="lora", task="x")) is task
    options = {"shuffle_labels": True, "canaries": (2,)}
    config = RunConfig(method="lora", task="x", training=options)
    found = trained_task(task, config).splits["train"]
    n = len(task.splits["train"])
    assert len(found) == n + 2
    assert found[:n] == trained_task(task, config, canaries=False).splits["train"]
    assert found[:n] != task.splits["train"]
