"""Trained task: the examples that a run is trained on, as its configuration changes them."""

from peftlens.data.canaries import with_canaries
from peftlens.data.task import Task, with_shuffled_labels
from peftlens.runs.config import RunConfig


def trained_task(task: Task, config: RunConfig, *, canaries: bool = True) -> Task:
    """Shuffle the training labels and plant canaries, if the configuration says so.

    Args:
        task: the task as published.
        config: configuration of the run.
        canaries: whether to plant the canaries.

    Raises:
        InputError: the task does not allow it.
    """
    training = config.training
    if training.shuffle_labels:
        task = with_shuffled_labels(task, config.seed)
    if canaries and training.canaries:
        task = with_canaries(task, training.canaries, config.seed)
    return task
