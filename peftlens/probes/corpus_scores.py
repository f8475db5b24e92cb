"""Corpus BLEU and chrF of written answers, by sacrebleu, beside the mean of sentence scores.

They are the numbers that papers on translation and on text from data report. The answers are those
of `task_items`, so nothing is written again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from peftlens.adapters.run_context import RunContext
from peftlens.evaluation.answers import references
from peftlens.evaluation.corpus_scores import MetricName, corpus_score
from peftlens.evaluation.probe_runner import run_probe
from peftlens.results.table import Chart, Column, NotApplicable, measured
from peftlens.runs.trained_model import TrainedModel
from peftlens.tasks import task_of

REQUIRES = frozenset()
VERSION = 1
OPTIONAL = True  # needs the extra `scores`, and only written answers have such scores


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        metrics: corpus scores: bleu, chrf.
    """

    metrics: tuple[MetricName, ...] = ("bleu", "chrf")


COLUMNS = (
    Column("configuration", "method and the hyperparameters set by the study"),
    Column("method", "name of the method"),
    Column("task", "name of the task"),
    Column("metric", "corpus score: bleu or chrf"),
    Column("score", "corpus score, mean over runs; 0 to 100", "points", "higher"),
    Column("items_ci_low", "lower end of its 95 % interval over test examples", "points"),
    Column("items_ci_high", "upper end of this interval", "points"),
    Column("seeds_ci_low", "lower end of the 95 % interval over seeds; none with one seed",
           "points"),
    Column("seeds_ci_high", "upper end of this interval", "points"),
    Column("signature", "sacrebleu's signature: version, tokenization, number of references"),
    Column("n_items", "number of test examples"),
    Column("n_seeds", "number of runs"),
)  # fmt: skip
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="score",
        title="Corpus scores of written answers (bars: 95 % interval over test examples)",
        low="items_ci_low",
        high="items_ci_high",
        each="metric",
    ),
)


def compare(context: RunContext, runs: Mapping[TrainedModel, str], config: Config) -> pd.DataFrame:
    """Return one row per configuration, task and metric; none without written answers.

    Args:
        context: source of the runs' base models.
        runs: runs, mapped to the names of their configurations.
        config: options.
    """
    groups: dict[tuple[str, str], list[TrainedModel]] = {}
    for run, configuration in runs.items():
        if _writes(run):
            groups.setdefault((configuration, str(run.task)), []).append(run)
    rows = [
        {"configuration": configuration, "method": own[0].config.method, "task": task} | row
        for (configuration, task), own in groups.items()
        for row in _rows(context, own, config)
    ]
    return pd.DataFrame(rows, columns=[column.name for column in COLUMNS])


def _writes(run: TrainedModel) -> bool:
    try:
        return task_of(run).answers is not None
    except NotApplicable:
        return False


def _rows(
    context: RunContext, runs: list[TrainedModel], config: Config
) -> Iterator[dict[str, Any]]:
    """Score the runs of a configuration on the items that all of them have answered."""
    frames = [measured(run_probe(context, run, "task_items").frame) for run in runs]
    answers = pd.concat(
        [frame.set_index("item")["answer"].rename(run.id)
         for run, frame in zip(runs, frames, strict=True)],
        axis=1, join="inner",
    ).fillna("")  # fmt: skip
    if answers.empty:
        return
    examples = task_of(runs[0]).splits["test"]
    right = [references(examples[item]) for item in answers.index]
    for metric in config.metrics:
        found = corpus_score(
            metric, [[*answers[run.id]] for run in runs], right, np.random.default_rng(0)
        )
        yield {
            "metric": metric,
            "score": found.score,
            "items_ci_low": found.items.low,
            "items_ci_high": found.items.high,
            "seeds_ci_low": found.seeds.low,
            "seeds_ci_high": found.seeds.high,
            "signature": found.signature,
            "n_items": len(answers),
            "n_seeds": len(runs),
        }
