import json

import pytest

from peftlens.adapters import checkpoint
from peftlens.models.snapshot import restored_after
from peftlens.runs.config import RunConfig
from peftlens.runs.run import Run
from peftlens.training.data_loader import TokenizedTask
from peftlens.training.run_plan import plan_run
from peftlens.training.run_writer import RunWriter

TRAINING = {"max_steps": 5, "logging_steps": 2, "checkpoint_steps": [3], "max_length": 32}


@pytest.fixture
def filling(context, bases, words, tmp_path):
    planned = plan_run(
        RunConfig(method="lora", task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
                  dtype="float32", training=TRAINING),
        context,
    )  # fmt: skip
    with restored_after(planned.base.model) as base:
        model = checkpoint.attach(base, "lora", planned.method_config)
        yield RunWriter(tmp_path, planned), model, planned, tmp_path


def test_lines_are_kept_at_the_first_step_the_last_and_in_between(filling):
    folder, _, _, path = filling
    for step in range(1, 6):
        line = {"step": step, "loss": 1.0, "learning_rate": 0.1, "grad_norm": 2.0}
        assert folder.step(line, tokens=30, seconds=0.5) == 60
    kept = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in kept] == [1, 2, 4, 5]
    assert kept[0] == {
        "step": 1, "loss": 1.0, "learning_rate": 0.1, "grad_norm": 2.0, "tokens": 30,
    }  # fmt: skip
    timing = [json.loads(line) for line in (path / "timing.jsonl").read_text().splitlines()]
    assert timing[-1] == {"step": 5, "seconds": 0.5, "tokens_per_second": 60.0}


def test_a_checkpoint_is_saved_where_it_is_asked_for(filling):
    folder, model, _, path = filling
    for step in range(6):
        folder.checkpoint(model, step)
    assert [one.name for one in (path / "checkpoints").iterdir()] == ["3"]


def test_a_finished_folder_is_a_run(filling):
    folder, model, planned, path = filling
    read = TokenizedTask.of(planned.base, planned.task, 32)
    facts = folder.facts(7, read)
    assert facts["trainable_parameters"] == 7
    assert facts["examples"] == {"test": 24, "validation": 12, "train": 84}
    folder.finish(model, facts | {"validation_loss": 1.0}, trained_together=3)
    run = Run(path)
    assert run.record.status == "finished"
    assert run.record.environment["trained_together"] == 3
    run.verify(run.digests)
    assert "run.json" in run.digests


def test_without_a_loss_it_diverged(filling):
    folder, model, _, path = filling
    folder.finish(model, {"steps": 2})
    assert Run(path).record.status == "diverged"
