"""What two adapters, trained on two tasks, keep of them when their updates are added.

Each pair of runs of one configuration and seed on different tasks is combined, as `peftlens
combine` does, and scored on both tasks, beside the base and the two adapters alone. `kept` is the
share of an adapter's gain in loss over the base that the combination has: 1 if nothing is lost, 0
or less if it is no better than the base. Beside it stand the measures of `peftlens compare`, which
may predict it. Source: Yadav et al. 2023, arXiv:2306.01708, section 3.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from peftlens.adapters.checkpoint import open_run
from peftlens.adapters.combination import AdapterUpdates, How, Recipe, combine_adapters
from peftlens.adapters.comparison import interference
from peftlens.adapters.external import ExternalAdapter
from peftlens.adapters.plain_lora import write_plain_lora
from peftlens.adapters.run_context import RunContext
from peftlens.errors import require
from peftlens.evaluation.task_score import ScoredTask, TaskScore
from peftlens.io.files import canonical_json
from peftlens.models.base_model import BaseModel, in_float32
from peftlens.results.table import Chart, Column
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset({"delta_weight"})
VERSION = 1
OPTIONAL = True  # only for runs of one configuration on several tasks


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        how: linear, ties, dare, svd or cat, the exact sum; see `peftlens combine`.
        density: share of entries that ties and dare keep; None for 0.2 and 0.5.
        rank: rank of every module for ties, dare and svd; None for that of both together.
        items: largest number of test examples of each task; 0 for all.
    """

    how: How = "cat"
    density: float | None = None
    rank: int | None = None
    items: int = 200


COLUMNS = (
    Column("configuration", "configuration of the scored run"),
    Column("method", "name of the method"),
    Column("run", "id of the scored run"),
    Column("task", "task of the scored run"),
    Column("other_configuration", "configuration of the run that is added"),
    Column("other_run", "id of the run that is added"),
    Column("other_task", "task of the run that is added"),
    Column("seed", "seed of both runs"),
    Column("how", "how they are combined"),
    Column("cosine", "cosine of the updates, mean over the modules that both change", "1"),
    Column("conflicts", "share of the entries whose signs differ, mean over these modules", "1"),
    Column(
        "canceled", "share of the magnitudes that is lost when both are added, likewise", "1"
    ),
    Column("shared", "share of the changed modules that both change", "1"),
    Column("base_loss", "loss of the base on the task", "nats per token", "lower"),
    Column("alone_loss", "loss of the scored run", "nats per token", "lower"),
    Column("combined_loss", "loss of the combination", "nats per token", "lower"),
    Column("kept", "share of the run's gain in loss that the combination has; missing where the "
           "run has gained nothing", "1", "higher"),
    Column("alone_accuracy", "accuracy of the scored run", "1", "higher"),
    Column("combined_accuracy", "accuracy of the combination", "1", "higher"),
    Column("n_items", "number of test examples"),
)  # fmt: skip
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="kept",
        title="Share of the gain that is kept when two adapters are added",
        each="task",
    ),
)


def compare(context: RunContext, runs: Mapping[TrainedModel, str], config: Config) -> pd.DataFrame:
    """Return two rows per pair of runs, one for the task of each; none without pairs.

    Args:
        context: source of the runs' base models.
        runs: runs, mapped to the names of their configurations.
        config: options of the probe.

    Raises:
        InputError: an option is out of range, or does not fit the way of combining.
    """
    recipe = Recipe(how=config.how, density=config.density, rank=config.rank)
    recipe.check(2)
    require("items", config.items, 0)
    rows = [
        {"configuration": runs[one.run], "other_configuration": runs[other.run]} | row
        for group in _groups(runs)
        for one, other, row in _of_group(context, group, recipe, config.items)
    ]
    return pd.DataFrame(rows, columns=[column.name for column in COLUMNS])


def _groups(runs: Mapping[TrainedModel, str]) -> list[list[TrainedModel]]:
    """Group new adapters that differ in their task alone; those of one task are no group."""
    groups: dict[str, list[TrainedModel]] = defaultdict(list)
    for run in runs:
        config = run.config
        if run.task is None or config.continue_from is not None:
            continue
        rate = config.training.learning_rate
        key = [config.base_model, config.method, config.method_config, config.seed, rate]
        groups[canonical_json(key)].append(run)
    return [group for group in groups.values() if len({_task(run) for run in group}) > 1]


def _task(run: TrainedModel) -> str:
    return canonical_json([run.config.task, run.config.task_config])


@dataclass(frozen=True)
class _Scored:
    """A run with its updates, its task, and the scores of base and run on it."""

    run: TrainedModel
    updates: AdapterUpdates
    task: ScoredTask
    base: TaskScore
    alone: TaskScore


def _of_group(
    context: RunContext, runs: Sequence[TrainedModel], recipe: Recipe, items: int
) -> Iterator[tuple[_Scored, _Scored, dict[str, Any]]]:
    base = context.base_model(runs[0])
    if base.head:
        return  # heads of several tasks can't be added
    exact = base.derived("float32 copy", lambda: in_float32(base))
    scored = [_scored(run, exact, items) for run in runs]
    for one, other in combinations(scored, 2):
        if _task(one.run) == _task(other.run):
            continue
        measures = _measures(one.updates, other.updates)
        combined = _combined_scores([one, other], exact, recipe)
        for first, second, score in ((one, other, combined[0]), (other, one, combined[1])):
            yield first, second, _row(first, second, score) | {"how": recipe.how} | measures


def _scored(run: TrainedModel, base: BaseModel, items: int) -> _Scored:
    task = ScoredTask.of_run(run, base, items)
    updates = AdapterUpdates.of(run, base)
    start = task.score(base.model)
    with open_run(run, base) as model:
        return _Scored(run, updates, task, start, task.score(model))


def _combined_scores(scored: Sequence[_Scored], base: BaseModel, recipe: Recipe) -> list[TaskScore]:
    """Score the combination on the task of each."""
    combined = combine_adapters([one.updates for one in scored], recipe)
    if not combined:  # they cancel: what is left is the base
        return [one.base for one in scored]
    with TemporaryDirectory() as folder:
        write_plain_lora([one.factors for one in combined], base, Path(folder))
        with open_run(ExternalAdapter(Path(folder), base.reference), base) as model:
            return [one.task.score(model) for one in scored]


def _measures(one: AdapterUpdates, other: AdapterUpdates) -> dict[str, float | None]:
    """Return the measures of `compare`, mean over the modules that both change."""
    shared = one.modules.keys() & other.modules.keys()
    found = [
        interference(*(each.modules[name].update.delta.dense for each in (one, other)))
        for name in one.modules
        if name in shared
    ]
    names = ("cosine", "conflicts", "canceled")
    means = {
        name: float(np.mean([row[name] for row in found])) if found else None for name in names
    }
    return means | {"shared": len(shared) / len(one.modules.keys() | other.modules.keys())}


def _row(one: _Scored, other: _Scored, combined: TaskScore) -> dict[str, Any]:
    gain = one.base.loss - one.alone.loss
    return {
        "method": one.run.config.method,
        "run": one.run.id,
        "task": one.task.task.name,
        "other_run": other.run.id,
        "other_task": other.task.task.name,
        "seed": one.run.config.seed,
        "base_loss": one.base.loss,
        "alone_loss": one.alone.loss,
        "combined_loss": combined.loss,
        "kept": (one.base.loss - combined.loss) / gain if gain > 0 else None,
        "alone_accuracy": one.alone.accuracy,
        "combined_accuracy": combined.accuracy,
        "n_items": len(one.task.items),
    }
