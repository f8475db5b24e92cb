import pytest

import peftlens as pl


@pytest.fixture
def config(bases, words):
    """Configuration of a LoRA on the tiny Llama, two steps long."""

    def make(**changes):
        given = {
            "method": "lora", "task": f"file:{words}", "base_model": str(bases["llama"]),
            "method_config": {"rank": 2}, "device": "cpu", "dtype": "float32",
            "training": {"max_steps": 2, "batch_size": 4, "checkpoint_steps": [0],
                         "logging_steps": 1},
        }  # fmt: skip
        return pl.RunConfig(**given | changes)

    return make


@pytest.fixture
def trained(config, tmp_path):
    return pl.train(config(), tmp_path / "runs")
