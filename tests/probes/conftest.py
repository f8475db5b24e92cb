"""Runs that probes of weights look at."""

import pytest

import peftlens
from peftlens.runs.config import RunConfig


@pytest.fixture(scope="session")
def trained(bases, words, tmp_path_factory):
    """Trains a method on the tiny Llama, 4 steps, with a checkpoint before the first."""
    out = tmp_path_factory.mktemp("trained")

    def train(method, seed=0, dtype="float32", learning_rate=None, **options):
        return peftlens.train(
            RunConfig(
                method=method, task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
                dtype=dtype, method_config=options, seed=seed,
                training={"max_steps": 4, "batch_size": 4, "checkpoint_steps": [0],
                          "learning_rate": learning_rate},
            ),
            out,
        )  # fmt: skip

    return train


@pytest.fixture(scope="session")
def lora(trained):
    """A run of LoRA with rank 2."""
    return trained("lora", rank=2)


@pytest.fixture(scope="session")
def full(trained):
    """A run of full fine-tuning."""
    return trained("full")
