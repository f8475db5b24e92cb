"""Runs of a few steps on tiny models, on the CPU in float32."""

import peftlens
from peftlens.runs.config import RunConfig


def small_trainer(bases, data, folder, **training):
    """Return a function that trains a method, by its name and options, on a file of rows.

    A run that is in the folder already is opened, and not trained again.
    """

    def train(method, kind="llama", **options):
        config = RunConfig(
            method=method, task=f"file:{data}", base_model=str(bases[kind]), device="cpu",
            dtype="float32", method_config=options, training={"batch_size": 4} | training,
        )  # fmt: skip
        return peftlens.train(config, folder)

    return train
