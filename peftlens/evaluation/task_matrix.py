"""Matrix of models and tasks: what each model knows of each task, and keeps of what was learned."""

from collections.abc import Callable, Mapping

import pandas as pd
from torch import nn

from peftlens.evaluation.task_score import ScoredTask


def task_matrix(
    models: Mapping[str, Callable[[], nn.Module]],
    tasks: Mapping[str, ScoredTask],
    base: str = "base",
) -> pd.DataFrame:
    """Score models on the tasks of some of them.

    Args:
        models: functions that activate a model and return it, by name; one is the base.
        tasks: task of each model that was trained on one, by the model's name.
        base: name of the base among the models.

    Returns:
        One row per task and model: task, trained (name of the model that was trained on it),
        model, loss (nats per token), accuracy, and kept: the share of the trained model's gain in
        loss over the base that the model has; missing where the trained model has gained nothing.
    """
    rows = []
    for trained, task in tasks.items():
        found = {name: task.score(model()) for name, model in models.items()}
        start, gain = found[base].loss, found[base].loss - found[trained].loss
        rows += [
            {
                "task": task.task.name,
                "trained": trained,
                "model": name,
                "loss": one.loss,
                "accuracy": one.accuracy,
                "kept": (start - one.loss) / gain if gain > 0 else None,
            }
            for name, one in found.items()
        ]
    columns = ["task", "trained", "model", "loss", "accuracy", "kept"]
    return pd.DataFrame(rows, columns=columns)
