"""A task of lm-evaluation-harness as a retention suite, `lm_eval:TASK`.

The harness scores the documents itself, and a document's score is the value of one metric. Only
metrics count whose mean over the documents is the harness's own number for the task.
"""

from dataclasses import asdict, dataclass, fields
from math import isclose
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from torch import nn

from peftlens.errors import InputError, suggestion, validation_summary
from peftlens.evaluation.harness import HarnessScores, harness_scores, tasks_sha256
from peftlens.io.files import canonical_json, sha256_text

PREFIX = "lm_eval:"


@dataclass(frozen=True, kw_only=True)
class HarnessOptions:
    """Options of a suite of the harness.

    Attributes:
        metric: metric of a document, such as acc_norm, with its filter where it has one; the
            task's first by default.
        include_path: folder with task files of the user's; empty for the harness's tasks.
        batch_size: number of rows per forward pass.
    """

    metric: str = ""
    include_path: str = ""
    batch_size: int = 8


@dataclass(frozen=True)
class HarnessSuite:
    """A task of the harness, or the tasks of a group one after the other.

    Attributes:
        name: name of the suite, lm_eval:TASK.
        options: how it is scored.
        limit: largest number of documents per task; 0 for all.
        sha256: hash of the documents and of all that their scores depend on but the model.
    """

    name: str
    options: HarnessOptions
    limit: int
    sha256: str

    @property
    def texts(self) -> bool:
        """Whether the suite consists of texts: never, its documents have scores."""
        return False

    def scores(self, model: nn.Module, tokenizer: Any) -> NDArray[np.float64]:
        """Let the harness score a model: one score per document, shape (n,).

        Args:
            model: model with its adapter attached, if there is one.
            tokenizer: tokenizer of its base.

        Raises:
            InputError: the task can't be scored, or has no such metric.
        """
        found = harness_scores(
            model.eval(),
            tokenizer,
            [self.name.removeprefix(PREFIX)],
            include_path=self.options.include_path,
            limit=self.limit,
            batch_size=self.options.batch_size,
        )
        available = mean_metrics(found)
        metric = self.options.metric or next(iter(available), "")
        if metric not in available:
            raise InputError(_no_metric(self.name, metric, [*available]))
        own = [one for one in found.items if one.metric == metric]
        return np.array([one.score for one in sorted(own, key=lambda one: (one.task, one.item))])


def mean_metrics(found: HarnessScores) -> list[str]:
    """List metrics that all tasks have, of which more is better and whose mean is the total."""
    by_metric: dict[str, dict[str, list[float]]] = {}
    for one in found.items:
        by_metric.setdefault(one.metric, {}).setdefault(one.task, []).append(one.score)
    tasks = {one.task for one in found.items}
    return [
        metric
        for metric, scores in by_metric.items()
        if scores.keys() == tasks
        and not any((task, metric) in found.lower_is_better for task in tasks)
        and all(
            isclose(np.mean(values), found.totals.get((task, metric), np.nan), abs_tol=1e-6)
            for task, values in scores.items()
        )
    ]


def _no_metric(name: str, metric: str, available: list[str]) -> str:
    if not available:
        return (
            f"retention suite {name!r} has no metric that is a mean over its documents; give "
            "another suite, such as passages or lm_eval:piqa"
        )
    remedy = suggestion(metric, available, "set metric to one of")
    return f"suite {name!r} has no metric {metric!r}; {remedy}"


def harness_suite(name: str, values: dict[str, Any], limit: int) -> HarnessSuite:
    """Open a task of the harness as a suite.

    Args:
        name: lm_eval:TASK.
        values: values of `HarnessOptions`.
        limit: largest number of documents per task; 0 for all.

    Raises:
        InputError: there is no such task or option, or its data can't be had.
    """
    options = _configured(name, values)
    inputs = tasks_sha256([name.removeprefix(PREFIX)], options.include_path, limit)
    digest = sha256_text(canonical_json([inputs, asdict(options), limit]))
    return HarnessSuite(name, options, limit, digest)


def _configured(name: str, values: dict[str, Any]) -> HarnessOptions:
    known = [field.name for field in fields(HarnessOptions)]
    if unknown := [key for key in values if key not in known]:
        remedy = suggestion(unknown[0], known, "it has")
        raise InputError(f"{name} has no option {unknown[0]!r}; {remedy}")
    try:
        options = TypeAdapter(HarnessOptions).validate_python(values)
    except ValidationError as error:
        raise InputError(f"{name}: {validation_summary(error)}") from error
    if options.batch_size < 1:
        raise InputError(f"{name}: batch_size={options.batch_size} must be at least 1")
    return options
