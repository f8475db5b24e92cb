import pytest

from peftlens.models.snapshot import fingerprint
from peftlens.runs.config import RunConfig
from peftlens.runs.run import Run
from peftlens.training import trainer
from peftlens.training.batched_trainer import train_runs
from peftlens.training.partial_training import train_runs_until, train_until
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


def losses(run):
    return [line["loss"] for line in run.metrics() if "loss" in line]


@pytest.mark.parametrize("method", ["lora", "ln_tuning"])
def test_runs_of_one_pass_are_paused_and_resumed(plan, tmp_path, method):
    """Four runs to step 1, three to step 3, of which one goes on alone, and the rest together."""
    every = {"logging_steps": 1, "checkpoint_steps": [1]}
    plans = [plan(method, seed=seed, training=every) for seed in (0, 1, 2, 3)]
    before = fingerprint(plans[0].base.model)
    whole = train_runs(plans, tmp_path / "whole")
    first = train_runs_until(plans, tmp_path, 1)
    assert [(one.id, one.step) for one in first] == [(one.id, 1) for one in plans]
    again = train_runs_until(plans[:3], tmp_path, 3)
    assert [(one.id, one.step) for one in again] == [(one.id, 3) for one in plans[:3]]
    assert set(again[0].contents.scores) == {1, 3}
    resumed = [train_run(plans[0], tmp_path), *train_runs(plans[1:], tmp_path)]
    assert fingerprint(plans[0].base.model) == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(
        ["whole", *(one.id for one in plans)]
    )
    for run, other in zip(resumed, whole, strict=True):
        assert losses(run) == pytest.approx(losses(other), rel=1e-4)
        assert run.steps == other.steps == (1, 5)
        assert run.record.results["validation_loss"] == pytest.approx(
            other.record.results["validation_loss"], rel=1e-4
        )
    assert [run.record.environment.get("trained_together") for run in resumed] == [None, 2, 2, 1]


def test_a_pass_that_is_resumed_whole_gives_the_same_bytes(plan, tmp_path):
    plans = [plan("ln_tuning", seed=seed, dtype="bfloat16") for seed in (0, 1)]
    whole = train_runs(plans, tmp_path / "whole")
    train_runs_until(plans, tmp_path, 2)
    for run, other in zip(train_runs(plans, tmp_path), whole, strict=True):
        for name in ("run.json", "metrics.jsonl", "adapter/adapter_model.safetensors"):
            assert (run.path / name).read_bytes() == (other.path / name).read_bytes()


def test_one_of_a_pass_that_diverges_is_finished_and_the_others_paused(plan, tmp_path):
    wild = plan("ln_tuning", training={"learning_rate": 1e37, "lr_scheduler_type": "constant"})
    calm = plan("ln_tuning", training={"lr_scheduler_type": "constant"})
    one, other = train_runs_until([wild, calm], tmp_path, 3)
    assert (one.id, one.record.status) == (wild.id, "diverged")
    assert (other.id, other.step) == (calm.id, 3)
