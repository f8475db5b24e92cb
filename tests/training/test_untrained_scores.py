"""Scores of the untrained model: those of the frozen method, computed once."""

import pytest

from peftlens.io.files import cache_dir
from peftlens.runs.config import RunConfig
from peftlens.training import untrained_scores as module
from peftlens.training.run_plan import plan_run
from peftlens.training.trainer import train_run
from peftlens.training.untrained_scores import untrained_scores


@pytest.fixture
def plan(bases, words, context, tmp_path, monkeypatch):
    """Function that plans a run on the tiny Llama."""
    monkeypatch.setenv("PEFTLENS_CACHE", str(tmp_path / "cache"))

    def make(method="lora", base=None, **config):
        values = {"max_steps": 2, "batch_size": 4, **config.pop("training", {})}
        requested = RunConfig(
            method=method, task=f"file:{words}", base_model=str(base or bases["llama"]),
            device="cpu", dtype="float32", training=values, **config,
        )  # fmt: skip
        return plan_run(requested, context)

    return make


def test_they_are_those_of_the_frozen_model(plan, tmp_path):
    frozen = train_run(plan("frozen"), tmp_path / "runs").record.results
    scores = untrained_scores(plan())
    assert scores.keys() == {name for name in frozen if name.startswith("validation_")}
    assert scores == {name: pytest.approx(frozen[name]) for name in scores}


def test_runs_of_one_base_and_task_share_them(plan, monkeypatch):
    calls = []
    validate = module.validate
    monkeypatch.setattr(module, "validate", lambda *of: calls.append(of) or validate(*of))
    first = untrained_scores(plan())
    same = [plan("ia3"), plan(seed=1), plan(training={"max_steps": 5})]
    assert [untrained_scores(one) for one in same] == [first] * 3
    assert len(calls) == 1
    untrained_scores(plan(training={"max_length": 32}))
    untrained_scores(plan(task_config={"template": "{text}?"}))
    assert len(calls) == 3
    assert len([*cache_dir("untrained_scores").glob("*.safetensors")]) == 3


def test_the_base_stays_as_it_is(plan):
    planned = plan()
    untrained_scores(planned)
    assert not planned.base.changed()


def test_a_new_head_is_that_of_the_run_before_its_first_step(plan, encoders):
    one, other = (plan(base=encoders["bert"], seed=seed) for seed in (0, 1))
    assert untrained_scores(one) != untrained_scores(other)
    still = plan("lora", base=encoders["bert"], training={"learning_rate": 0.0})
    run = train_run(still, cache_dir("runs"))
    assert untrained_scores(still) == {
        name: pytest.approx(run.record.results[name], rel=1e-5) for name in untrained_scores(still)
    }
