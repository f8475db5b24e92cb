import pytest

from peftlens.runs.config import RunConfig
from peftlens.runs.run import Run
from peftlens.training import trainer
from peftlens.training.partial_training import train_until
from peftlens.training.run_plan import plan_run
from peftlens.training.trainer import train_run

TRAINING = {"max_steps": 5, "batch_size": 4, "max_length": 32, "logging_steps": 2}


@pytest.fixture
def plan(context, bases, words):
    def make(method="lora", base=None, training=None, **changes):
        config = RunConfig(
            method=method, base_model=str(base or bases["llama"]), device="cpu",
            training=TRAINING | {"checkpoint_steps": [0, 1, 3]} | (training or {}),
            **{"task": f"file:{words}", "dtype": "float32"} | changes,
        )  # fmt: skip
        return plan_run(config, context)

    return make


def test_the_scores_of_a_pause_are_those_of_a_run_that_ends_there(plan, tmp_path):
    """With a constant rate the steps to the pause are those of a shorter run."""
    constant = {"lr_scheduler_type": "constant", "warmup_ratio": 0}
    paused = train_until(plan(training=constant), tmp_path, 3)
    shorter = train_run(plan(training=constant | {"max_steps": 3}), tmp_path / "shorter")
    ended = shorter.record.results
    assert paused.scores == {name: ended[name] for name in paused.scores}
    assert set(paused.scores) >= {"validation_loss", "validation_accuracy"}
    further = train_until(plan(training=constant), tmp_path, 4)
    assert further.contents.scores == {3: paused.scores, 4: further.scores}
    assert not paused.path.exists()
    assert further.contents.seconds > 0


def test_a_run_paused_at_the_step_is_not_trained_again(plan, tmp_path, monkeypatch):
    planned = plan()
    first = train_until(planned, tmp_path, 2)
    monkeypatch.setattr(trainer, "_train", lambda *_: pytest.fail("trained again"))
    again = train_until(planned, tmp_path, 2)
    assert (again.path, again.scores) == (first.path, first.scores)
    assert [entry.name for entry in tmp_path.iterdir()] == [first.path.name]


def test_a_finished_run_is_not_paused(plan, tmp_path):
    whole = train_run(plan(), tmp_path)
    assert train_until(plan(), tmp_path, 2) == whole


def test_a_run_that_diverges_before_its_pause_is_finished(plan, tmp_path):
    planned = plan("full", training={"learning_rate": 1e30, "warmup_ratio": 0})
    run = train_until(planned, tmp_path, 4)
    assert isinstance(run, Run)
    assert run.record.status == "diverged"
    assert run.record.results["steps"] < 4
