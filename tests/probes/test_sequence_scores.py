import pytest

import peftlens
from peftlens.evaluation import probe_runner
from peftlens.probes import task_items
from peftlens.probes.sequence_scores import Config, measure
from peftlens.runs.config import RunConfig


@pytest.fixture
def run(bases, words, tmp_path):
    return peftlens.train(
        RunConfig(
            method="lora", task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
            dtype="float32", training={"max_steps": 20, "batch_size": 4, "learning_rate": 0.03},
        ),
        tmp_path / "runs",
    )  # fmt: skip


def test_scores_on_its_own_task_are_those_of_task_items(context, run):
    (row,) = measure(context, run, Config(items=0)).to_dict("records")
    items = task_items.measure(context, run)
    assert row["accuracy"] == (items["chosen"] == items["correct"]).mean()
    assert row["n_items"] == len(items)
    assert row["continue_from"] is None


def test_other_tasks_are_scored_too(context, run, words):
    tasks = ({"name": f"file:{words}", "template": "Is {text} good?"}, {"name": "openbookqa"})
    frame = measure(context, run, Config(tasks=tasks, items=10))
    assert frame["task"].tolist() == [f"file:{words}", "openbookqa"]
    assert frame["n_items"].tolist() == [10, 10]


def test_text_has_nothing_to_choose_from(context, run):
    options = {"sequence_scores": {"tasks": [{"name": "wiki"}]}}
    frame = probe_runner.run_probe(context, run, "sequence_scores", options).frame
    assert frame["reason"].tolist() == ["wiki has no candidate answers"]
