"""Train one run from Python."""

from pathlib import Path

from peftlens.api.run import Run
from peftlens.runs.config import RunConfig
from peftlens.training import trainer


def train(config: RunConfig, out: str | Path, *, trust_remote_code: bool = False) -> Run:
    """Train a run, or find it already trained.

    Example:
        ```python
        config = pl.RunConfig(method="lora", task="bbc_topic", training={"max_steps": 60})
        run = pl.train(config, "runs")  # a second call finds it there
        ```

    Args:
        config: what to train.
        out: the folder of runs; the run's own folder is made below it, named by its id.
        trust_remote_code: run Python that the base model's folder brings along.

    Raises:
        InputError: a name, an option or a value can't work; the message says which.
    """
    return Run(trainer.train(config, out, trust_remote_code=trust_remote_code).path)
