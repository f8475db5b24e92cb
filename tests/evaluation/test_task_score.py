import pytest

import peftlens
from peftlens.errors import InputError
from peftlens.evaluation.task_score import ScoredTask
from peftlens.runs.config import RunConfig


def test_the_score_is_that_of_the_probe(bases, words, tmp_path, llama):
    run = peftlens.train(
        RunConfig(
            method="frozen", task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
            dtype="float32",
        ),
        tmp_path,
    )  # fmt: skip
    row = peftlens.probe(run, "task_accuracy").to_frame().iloc[0]
    for task in (ScoredTask.of_run(run, llama, 0), ScoredTask.named(run.task, {}, llama, 0)):
        found = task.score(llama.model)
        assert found.accuracy == pytest.approx(row["accuracy"])
        assert found.loss == pytest.approx(row["loss"])
    assert len(ScoredTask.named(run.task, {}, llama, 5).items) == 5


def test_a_task_that_is_none(llama):
    with pytest.raises(InputError, match="no_such"):
        ScoredTask.named("no_such", {}, llama, 0)
