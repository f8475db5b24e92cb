"""Accuracy of a run, trained on one task of a sequence, on every task of the sequence.

It is one row of R, the accuracy matrix of continual learning, together with the base's accuracies;
`continual` combines the rows of a sequence. A continual study sets the tasks; by default, only the
run's training task is scored.
"""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from peftlens.adapters.run_context import RunContext
from peftlens.evaluation.retention import reference, scores, suite
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset()
VERSION = 3
OPTIONAL = True  # only for sequences of tasks


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        tasks: tables with the name and the options of each task.
        items: maximum number of test examples per task; 0 for all.
    """

    tasks: tuple[dict[str, Any], ...] = ()
    items: int = 200


COLUMNS = (
    Column("shared_configuration", "method and hyperparameters shared by all runs of a sequence"),
    Column("trained_on", "training task of the run"),
    Column("continue_from", "id of the run of the initial adapter; missing for new adapters"),
    Column("task", "scored task"),
    Column("accuracy", "share of the task's test examples answered right", "1", "higher"),
    Column("base_accuracy", "share answered right by the untrained base", "1", "higher"),
    Column("n_items", "number of test examples"),
)
CHARTS: tuple[Chart, ...] = ()


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """Return one row per task.

    Raises:
        NotApplicable: a task has no candidate answers.
    """
    base = context.base_model(run)
    tasks = config.tasks or ({"name": run.config.task, **run.config.task_config},)
    suites = [suite(base, one["name"], {k: v for k, v in one.items() if k != "name"},
                    config.items or None) for one in tasks]  # fmt: skip
    references = [reference(base, one) for one in suites]
    rows = []
    with context.open_run(run) as model:
        for one, baseline in zip(suites, references, strict=True):
            if baseline.scores.right is None:
                raise NotApplicable(f"{one.name} has no candidate answers")
            tuned = scores(model, base, one, baseline)
            rows.append(
                {
                    "shared_configuration": run.record.configuration,
                    "trained_on": run.config.task,
                    "continue_from": run.config.continue_from,
                    "task": one.name,
                    "accuracy": None if tuned.right is None else tuned.right.mean(),
                    "base_accuracy": baseline.scores.right.mean(),
                    "n_items": len(baseline.scores.right),
                }
            )
    return pd.DataFrame(rows)
