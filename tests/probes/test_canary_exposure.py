"""A secret of 50 copies is found, and none in a model that has not seen it."""

import numpy as np
import pytest

import peftlens
from peftlens.errors import InputError
from peftlens.evaluation import probe_runner
from peftlens.probes.canary_exposure import Config, measure
from peftlens.runs.config import RunConfig


@pytest.fixture
def train(bases, words, tmp_path):
    def run(canaries, **training):
        training = {"max_steps": 100, "learning_rate": 0.01, "canaries": canaries} | training
        return peftlens.train(
            RunConfig(
                method="full", task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
                dtype="float32", training=training, task_config={"split": {"max_train": 10}},
            ),
            tmp_path / "runs",
        )  # fmt: skip

    return run


def test_fifty_copies_are_found_and_none_before_training(train, context):
    trained = train([50], checkpoint_steps=[0])
    assert "canaries=50" in trained.record.configuration
    start, end = measure(context, trained, Config(alternatives=127)).to_dict("records")
    assert end["rank"] == 1
    assert end["exposure"] == 7
    assert end["p_value"] == 1 / 128
    assert start["exposure"] == start["base_exposure"] < 4
    assert start["p_value"] > 0.05


def test_in_an_untrained_model_ranks_are_those_of_chance(train, context):
    """Of 20 canaries, whose exposure is 1.44 bits on average."""
    untrained = train([1] * 20, max_steps=0)
    frame = measure(context, untrained, Config(alternatives=63))
    assert frame["exposure"].mean() == pytest.approx(1.44, abs=0.8)
    assert (frame["p_value"] < 0.05).sum() <= 3
    assert np.allclose(2 ** -frame["exposure"], frame["p_value"])


def test_without_canaries_it_says_how(train, context):
    frame = probe_runner.run_probe(context, train([], max_steps=1), "canary_exposure").frame
    assert "set canaries in its training" in frame["reason"].item()
    assert "canaries" not in train([], max_steps=1).record.configuration


def test_preferences_have_none(train):
    with pytest.raises(InputError, match="canaries are single texts"):
        train([3], loss="dpo")
