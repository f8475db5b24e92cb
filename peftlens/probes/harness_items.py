"""Tasks of lm-evaluation-harness, item by item: the base and the run's model in one process.

The harness scores both itself (Gao et al. 2024), so its numbers are its own. `harness` aggregates
this table.
"""

from dataclasses import dataclass

import pandas as pd

from peftlens.adapters.run_context import RunContext
from peftlens.evaluation.harness import HarnessScores, harness_scores, tasks_sha256
from peftlens.models.snapshot import restored_after
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset()
VERSION = 1
OPTIONAL = True  # needs the extra `harness`, and tasks that the user names


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        tasks: names of tasks of the harness.
        include_path: folder with task files of your own; empty for the harness's tasks.
        items: largest number of documents per task; 0 for all.
        batch_size: number of rows per forward pass.
    """

    tasks: tuple[str, ...] = ()
    include_path: str = ""
    items: int = 0
    batch_size: int = 8


COLUMNS = (
    Column("task", "name of the task"),
    Column("metric", "name of the metric, with its filter if there is one"),
    Column("item", "index of the document"),
    Column("base_score", "score of the base"),
    Column("score", "score of the run's model"),
    Column("base_total", "the harness's number for the base on the whole task"),
    Column("total", "the harness's number for the run's model on the whole task"),
)
CHARTS: tuple[Chart, ...] = ()


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """Return one row per task, metric and document.

    Raises:
        NotApplicable: no task is named.
        InputError: see `harness_scores`.
    """
    if not config.tasks:
        raise NotApplicable("it needs tasks, such as --set 'tasks=[\"piqa\"]'")
    base = context.base_model(run)
    base.require_text()

    def scores(model) -> HarnessScores:
        return harness_scores(
            model.eval(), base.tokenizer, config.tasks, include_path=config.include_path,
            limit=config.items, batch_size=config.batch_size,
        )  # fmt: skip

    def untrained() -> HarnessScores:
        with restored_after(base.model) as model:
            return scores(model)

    inputs = tasks_sha256(config.tasks, config.include_path, config.items)
    before = base.derived("harness", untrained, key=(inputs, config.batch_size))
    with context.open_run(run) as model:
        after = scores(model)
    frames = [
        pd.DataFrame([(one.task, one.metric, one.item, one.score) for one in found.items],
                     columns=["task", "metric", "item", name])
        for found, name in ((before, "base_score"), (after, "score"))
    ]  # fmt: skip
    frame = frames[0].merge(frames[1], on=["task", "metric", "item"], validate="1:1")
    for name, found in (("base_total", before), ("total", after)):
        frame[name] = [found.totals.get(key) for key in zip(frame["task"], frame["metric"],
                                                            strict=True)]  # fmt: skip
    return frame[[column.name for column in COLUMNS]]
