import pytest

import peftlens
from peftlens.evaluation import probe_runner
from peftlens.probes import task_items
from peftlens.probes.sequence_items import Config, measure
from peftlens.runs.config import RunConfig
from peftlens.tasks import load_task


@pytest.fixture
def run(bases, words, tmp_path):
    return peftlens.train(
        RunConfig(
            method="full", task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
            dtype="float32", training={"max_steps": 60, "batch_size": 4, "learning_rate": 0.01},
        ),
        tmp_path / "runs",
    )  # fmt: skip


def test_answers_on_its_own_task_are_those_of_task_items(context, run):
    found = measure(context, run, Config(items=0))
    items = task_items.measure(context, run)
    assert found["right"].tolist() == (items["chosen"] == items["correct"]).tolist()
    assert found["item"].tolist() == items["item"].tolist()
    assert found["continue_from"].isna().all()


def test_the_base_is_scored_without_the_adapter(context, run, bases, words, tmp_path):
    frozen = RunConfig(method="frozen", task=f"file:{words}", base_model=str(bases["llama"]),
                       device="cpu", dtype="float32")  # fmt: skip
    base = task_items.measure(context, peftlens.train(frozen, tmp_path / "frozen"))
    found = measure(context, run, Config(items=0))
    assert found["base_right"].tolist() == (base["chosen"] == base["correct"]).tolist()
    assert found["right"].tolist() != found["base_right"].tolist()


def test_the_most_frequent_class_is_that_of_the_training_split(context, run):
    found = measure(context, run, Config(items=0))
    splits = load_task(run.config.task, {}).splits
    train = [one.answers[one.correct] for one in splits["train"]]
    majority = max(sorted(set(train)), key=train.count)
    expected = [one.answers[one.correct] == majority for one in splits["test"]]
    assert found["majority_right"].tolist() == expected


def test_other_tasks_are_scored_too_and_questions_have_no_class(context, run, words):
    tasks = ({"name": f"file:{words}", "template": "Is {text} good?"}, {"name": "openbookqa"})
    found = measure(context, run, Config(tasks=tasks, items=10))
    assert found["task"].tolist() == [f"file:{words}"] * 10 + ["openbookqa"] * 10
    assert found["majority_right"].isna().tolist() == [False] * 10 + [True] * 10


def test_text_has_nothing_to_choose_from(context, run):
    options = {"sequence_items": {"tasks": [{"name": "wiki"}]}}
    frame = probe_runner.run_probe(context, run, "sequence_items", options).frame
    assert frame["reason"].tolist() == ["wiki has no candidate answers"]
