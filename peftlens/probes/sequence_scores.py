"""What a run, trained on one task of a sequence, scores on every task of it.

One row of R, the matrix of continual learning, beside the base's own scores: `continual` puts the
rows of a sequence together. A continual study names the tasks; without any, a run's own is scored.
"""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from peftlens.adapters.run_context import RunContext
from peftlens.evaluation.retention import reference, scores, suite
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset()
VERSION = 2
OPTIONAL = True  # where there is a sequence


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        tasks: each with its name and the options of the task.
        items: test examples of each task at most; 0 takes all.
    """

    tasks: tuple[dict[str, Any], ...] = ()
    items: int = 200


COLUMNS = (
    Column("shared_configuration", "method and hyperparameters that all runs of a sequence share"),
    Column("trained_on", "the task that the run was trained on"),
    Column(
        "continue_from", "run whose adapter it went on from; missing where a new one was trained"
    ),
    Column("task", "the task that is scored"),
    Column("accuracy", "share of its test examples answered right", "1", "higher"),
    Column("base_accuracy", "share that the untrained base answers right", "1", "higher"),
    Column("n_items", "test examples"),
)
CHARTS: tuple[Chart, ...] = ()


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """A row for each task.

    Raises:
        NotApplicable: a task has no answers to choose from.
    """
    base = context.base_model(run)
    tasks = config.tasks or ({"name": run.config.task, **run.config.task_config},)
    asked = [suite(base, one["name"], {k: v for k, v in one.items() if k != "name"},
                   config.items or None) for one in tasks]  # fmt: skip
    known = [reference(base, one) for one in asked]
    rows = []
    with context.open_run(run) as model:
        for one, before in zip(asked, known, strict=True):
            if before.scores.right is None:
                raise NotApplicable(f"{one.name} has no answers to choose from")
            found = scores(model, base, one, before)
            rows.append(
                {
                    "shared_configuration": run.record.configuration,
                    "trained_on": run.config.task,
                    "continue_from": run.config.continue_from,
                    "task": one.name,
                    "accuracy": None if found.right is None else found.right.mean(),
                    "base_accuracy": before.scores.right.mean(),
                    "n_items": len(before.scores.right),
                }
            )
    return pd.DataFrame(rows)
