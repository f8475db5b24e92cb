"""A run that is paused and resumed equals one that is not, byte for byte."""

import json
import random
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from method_cases import NAMES, OPTIONS, UNTRAINED

from peftlens.errors import InputError
from peftlens.runs.config import RunConfig
from peftlens.runs.paused import PausedRun
from peftlens.runs.run import Run
from peftlens.training.partial_training import train_until
from peftlens.training.run_plan import plan_run
from peftlens.training.trainer import train_run

TRAINING = {"max_steps": 4, "batch_size": 4, "max_length": 32, "logging_steps": 2}
TIMES = ("timing.jsonl", "digests.json")  # the latter has the former's digest


@pytest.fixture
def plan(context, bases, words):
    def make(method="lora", base=None, training=None, **changes):
        config = RunConfig(
            method=method, base_model=str(base or bases["llama"]), device="cpu",
            training=TRAINING | {"checkpoint_steps": [1]} | (training or {}),
            **{"task": f"file:{words}", "dtype": "float32"} | changes,
        )  # fmt: skip
        return plan_run(config, context)

    return make


def contents(run):
    files = [file for file in run.path.rglob("*") if file.is_file()]
    found = {file.relative_to(run.path).as_posix(): file.read_bytes() for file in files}
    return {name: data for name, data in found.items() if name not in TIMES}


def disturb():
    """Another job of the process, between the pause and the rest."""
    for draw in (random.random, np.random.random, partial(torch.rand, 3)):
        draw()


def paused_and_whole(planned, tmp_path, *steps):
    """Train a run with pauses, and without."""
    whole = train_run(planned, tmp_path / "whole")
    for step in steps:
        paused = train_until(planned, tmp_path / "paused", step)
        assert isinstance(paused, PausedRun)
        assert paused.scores["validation_loss"] > 0
        disturb()
    return train_run(planned, tmp_path / "paused"), whole


SHORT = {"cpt": {"shots": 1}, "fish_mask": {"examples": 4}}


@pytest.mark.parametrize("method", [name for name in NAMES if name not in {*UNTRAINED, "head"}])
def test_a_paused_run_of_each_method_equals_a_whole_one(plan, tmp_path, method):
    options = SHORT.get(method) or OPTIONS.get(method, {})
    resumed, whole = paused_and_whole(plan(method, method_config=options), tmp_path, 2)
    assert contents(resumed) == contents(whole)
    assert [folder.name for folder in (tmp_path / "paused").iterdir()] == [whole.id]


TRAININGS = {
    "accumulated": {"gradient_accumulation_steps": 2, "lr_scheduler_type": "cosine"},
    "cached": {"max_steps": 30},  # more than an epoch
    "constant": {"lr_scheduler_type": "constant", "weight_decay": 0.1},
    "preference": {"loss": "dpo"},
    "l2sp": {"keep": {"kind": "l2sp"}},
    "masked_kl": {"keep": {"kind": "masked_kl"}},
}


@pytest.mark.parametrize("name", TRAININGS)
def test_a_paused_run_equals_a_whole_one_whatever_it_is_trained_for(plan, tmp_path, name):
    planned = plan("last_layers" if name == "cached" else "lora", training=TRAININGS[name])
    resumed, whole = paused_and_whole(planned, tmp_path, 1, 3)
    assert contents(resumed) == contents(whole)


@pytest.fixture(scope="module")
def general(tmp_path_factory):
    """General text in a file: 40 sentences."""
    file = tmp_path_factory.mktemp("general") / "general.jsonl"
    texts = [f"the {a} dog runs in the {b} {c}" for a in "xy" for b in "pqrs" for c in "abcde"]
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return f"file:{file}"


@pytest.mark.parametrize("kind", ["kl", "replay", "ewc"])
def test_a_run_kept_near_its_base_on_text_goes_on_with_the_next_text(plan, tmp_path, general, kind):
    planned = plan(training={"keep": {"kind": kind, "data": general}})
    resumed, whole = paused_and_whole(planned, tmp_path, 2)
    assert contents(resumed) == contents(whole)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_paused_run_in_bfloat16_goes_on_with_the_float32_copies(plan, tmp_path, method):
    planned = plan(method, dtype="bfloat16", training={"learning_rate": 1e-4})
    resumed, whole = paused_and_whole(planned, tmp_path, 3)
    assert contents(resumed) == contents(whole)


@pytest.mark.parametrize("step", [9, 15])  # before and after the ranks are final, at 14
def test_adalora_goes_on_with_the_importance_of_its_directions(plan, tmp_path, step):
    options = {"rank": 2, "initial_rank": 6}
    planned = plan("adalora", method_config=options, training={"max_steps": 20, "batch_size": 2})
    resumed, whole = paused_and_whole(planned, tmp_path, step)
    assert contents(resumed) == contents(whole)


def test_dropout_goes_on_with_the_same_draws(plan, tmp_path):
    planned = plan("peft:LORA", method_config={"lora_dropout": 0.5, "target_modules": ["q_proj"]})
    resumed, whole = paused_and_whole(planned, tmp_path, 2)
    assert contents(resumed) == contents(whole)


@pytest.mark.parametrize("method", ["head", "lora"])
def test_a_paused_run_with_a_head_equals_a_whole_one(plan, encoders, tmp_path, method):
    planned = plan(method, base=encoders["bert"], task_config={"head": "classification"})
    resumed, whole = paused_and_whole(planned, tmp_path, 2)
    assert contents(resumed) == contents(whole)


@pytest.mark.parametrize("keep", [None, {"kind": "orthogonal"}])
def test_a_paused_run_of_a_sequence_equals_a_whole_one(plan, tmp_path, keep):
    first = plan(training={"keep": keep})
    for name in ("whole", "paused"):
        train_run(first, tmp_path / name)
    second = plan(continue_from=first.id, seed=1, training={"keep": keep})
    resumed, whole = paused_and_whole(second, tmp_path, 2)
    assert contents(resumed) == contents(whole)


RESUME = """
import sys
from pathlib import Path
from peftlens import train
from peftlens.runs.config import RunConfig
train(RunConfig.model_validate_json(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_run_is_resumed_by_another_process(plan, tmp_path):
    options = {"lora_dropout": 0.5, "target_modules": ["q_proj"]}
    planned = plan("peft:LORA", method_config=options)
    whole = train_run(planned, tmp_path / "whole")
    train_until(planned, tmp_path / "paused", 2)
    config = planned.requested_config.model_dump_json()
    subprocess.run([sys.executable, "-c", RESUME, config, tmp_path / "paused"], check=True)
    assert contents(Run(tmp_path / "paused" / planned.id)) == contents(whole)


@pytest.mark.parametrize("step", [0, 4, 9])
def test_a_pause_is_before_the_last_step(plan, tmp_path, step):
    with pytest.raises(InputError, match=f"of 4 steps can't be paused after step {step}"):
        train_until(plan(), tmp_path, step)


def test_a_method_that_trains_nothing_has_no_pause(plan, tmp_path):
    with pytest.raises(InputError, match="a run of 0 steps can't be paused after step 1; train it"):
        train_until(plan("frozen", training={"checkpoint_steps": []}), tmp_path, 1)


def test_a_method_that_may_keep_something_is_refused(plan, tmp_path, monkeypatch):
    planned = plan("adalora")
    monkeypatch.delattr(planned.method, "training_state")
    with pytest.raises(InputError, match="adalora acts after each step and has no function"):
        train_until(planned, tmp_path, 2)


@pytest.mark.parametrize(
    "name", ["pause.json", "training_state.safetensors", "checkpoints/1/adapter_model.safetensors"]
)
def test_a_damaged_pause_is_reported_and_the_run_trained_whole(plan, tmp_path, capsys, name):
    planned = plan()
    whole = train_run(planned, tmp_path / "whole")
    paused = train_until(planned, tmp_path, 2)
    file = paused.path / name
    file.write_bytes(file.read_bytes()[:-7])
    resumed = train_run(planned, tmp_path)
    assert contents(resumed) == contents(whole)
    (line,) = capsys.readouterr().err.splitlines()
    assert str(paused.path) in line
    assert "what was trained up to this pause is deleted and trained again" in line
    assert not paused.path.exists()
