"""Right and wrong answers of a run to the test examples of every task of its sequence.

`sequence_scores`, `continual` and `continual_matrix` aggregate this table; their intervals require
the answers to single examples. A continual study sets the tasks; by default, only the run's
training task is scored. Beside the untrained base stands the class that is most frequent in the
training split: a base that always gives the same answer is as right as that answer is frequent.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peftlens.adapters.run_context import RunContext
from peftlens.evaluation.retention import Scores, Suite, reference, scores, suite
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel
from peftlens.tasks import load_task

REQUIRES = frozenset()
VERSION = 1
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
    Column("item", "index of the example among the task's scored test examples"),
    Column("right", "1 if the run's model answers right, else 0", "1", "higher"),
    Column("base_right", "1 if the untrained base answers right, else 0", "1", "higher"),
    Column("majority_right", "1 if the right answer is the most frequent class of the training "
           "split, else 0; missing for tasks without classes", "1", "higher"),
)  # fmt: skip
CHARTS: tuple[Chart, ...] = ()


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """Return one row per task and test example.

    Raises:
        NotApplicable: a task has no candidate answers.
    """
    base = context.base_model(run)
    tasks = config.tasks or ({"name": run.config.task, **run.config.task_config},)
    scored = []
    for task in tasks:  # the base is scored before the adapter is attached to it
        options = {name: value for name, value in task.items() if name != "name"}
        data = suite(base, task["name"], options, config.items or None)
        scored.append((data, reference(base, data), _majority_right(data, options)))
    with context.open_run(run) as model:
        parts = [
            _answers(data, scores(model, base, data, baseline), baseline.scores, majority_right)
            for data, baseline, majority_right in scored
        ]
    frame = pd.concat(parts, ignore_index=True).assign(
        shared_configuration=run.record.configuration,
        trained_on=run.config.task,
        continue_from=run.config.continue_from,
    )
    return frame[[column.name for column in COLUMNS]]


def _answers(
    data: Suite, tuned: Scores, base: Scores, majority_right: NDArray[np.float64]
) -> pd.DataFrame:
    if tuned.right is None or base.right is None:
        raise NotApplicable(f"{data.name} has no candidate answers")
    return pd.DataFrame(
        {
            "task": data.name,
            "item": np.arange(len(tuned.right)),
            "right": tuned.right.astype(int),
            "base_right": base.right.astype(int),
            "majority_right": majority_right,
        }
    )


def _majority_right(data: Suite, options: dict[str, Any]) -> NDArray[np.float64]:
    """Return 1 for each item of the most frequent training class, else 0; NaN without classes."""
    if data.kind != "classification":
        return np.full(len(data.items), np.nan)
    train = load_task(data.name, options).splits["train"]
    ((majority, _),) = Counter(example.correct for example in train).most_common(1)
    return np.array([float(item.correct == majority) for item in data.items])
