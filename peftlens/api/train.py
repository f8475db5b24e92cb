"""Training of one run, for notebooks."""

from pathlib import Path

from peftlens.api.run import Run
from peftlens.runs.config import RunConfig
from peftlens.training import trainer


def train(config: RunConfig, out: str | Path, *, trust_remote_code: bool = False) -> Run:
    """Train a run, or open it if it is already trained.

    Example:
        ```python
        config = pl.RunConfig(method="lora", task="bbc_topic", training={"max_steps": 60})
        run = pl.train(config, "runs")  # a second call opens the same run
        ```

    Args:
        config: configuration of the run.
        out: folder of runs, in which the run's folder is created, named by its id.
        trust_remote_code: whether Python code from the base model's folder may run.

    Raises:
        InputError: a name, an option or a value is invalid; the message names it.
    """
    return Run(trainer.train(config, out, trust_remote_code=trust_remote_code).path)
