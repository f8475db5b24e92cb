"""Right and wrong answers of a run to the test examples of every task of its sequence.

`sequence_scores`, `continual` and `continual_matrix` aggregate this table; their intervals require
the answers to single examples. A continual study sets the tasks; by default, only the run's
training task is scored. Beside the untrained base stands the class that is most frequent in the
training split: a base that always gives the same answer is as right as that answer is frequent.
Where tasks have heads, each is scored by its own: the one with which it ended, or before its
training the one with which it will start, which the base has, too.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peftlens.adapters.run_context import RunContext
from peftlens.adapters.task_heads import open_on_task
from peftlens.data.head_tokenization import head_for
from peftlens.data.task import Task
from peftlens.errors import InputError
from peftlens.evaluation.retention import Scores, Suite, reference, scores, suite
from peftlens.models.base_model import BaseModel
from peftlens.models.heads import head_seed
from peftlens.results.majority_baseline import most_frequent
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel
from peftlens.tasks import load_for_kind

REQUIRES = frozenset()
VERSION = 2
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
        InputError: a task needs a head, and the run has none, or the other way round.
    """
    tasks = config.tasks or ({"name": run.config.task, **run.config.task_config},)
    parts = [
        _of_task(
            context,
            run,
            task["name"],
            {name: value for name, value in task.items() if name != "name"},
            config.items or None,
        )
        for task in tasks
    ]
    frame = pd.concat(parts, ignore_index=True).assign(
        shared_configuration=run.record.configuration,
        trained_on=run.config.task,
        continue_from=run.config.continue_from,
    )
    return frame[[column.name for column in COLUMNS]]


def _of_task(
    context: RunContext,
    run: TrainedModel,
    name: str,
    options: dict[str, Any],
    max_items: int | None,
) -> pd.DataFrame:
    """Score one task, on the base with the task's head if it needs one."""
    task, options = load_for_kind(name, options, context.kind_of_base_model(run.config))
    task = replace(task, name=name)  # as in a run's configuration
    if task.needs_head and not task.has_choices:
        raise NotApplicable(f"{name} has no candidate answers")
    base = _base_for(context, run, name, task)
    data = suite(base, name, options, max_items)
    # the base is scored before the adapter is attached to it
    baseline = reference(base, data, head_seed(run.config.seed, task.sha256))
    with open_on_task(run, base, task) as model:
        tuned = scores(model, base, data, baseline)
    return _answers(data, tuned, baseline.scores, _majority_right(data, task))


def _base_for(context: RunContext, run: TrainedModel, name: str, task: Task) -> BaseModel:
    """Return the run's base with the head of a task.

    Raises:
        InputError: the task needs a head, and the run has none, or the other way round.
    """
    own, head = context.head(run), head_for(task)
    if (own is None) != (head is None):
        raise InputError(
            f"run {run.id} {'predicts text' if own is None else 'has a head'}, so {name!r} can't "
            f"be scored; {'leave out' if own is None else 'add'} head = 'classification' there"
        )
    return context.base_model_with(run, own if name == run.config.task else head)


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


def _majority_right(data: Suite, task: Task) -> NDArray[np.float64]:
    """Return 1 for each item of the most frequent training class, else 0; NaN without classes."""
    if data.kind != "classification":
        return np.full(len(data.items), np.nan)
    majority = most_frequent(example.correct for example in task.splits["train"])
    return np.array([float(item.correct == majority) for item in data.items])
