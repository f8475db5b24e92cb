"""Tasks of lm-evaluation-harness: scored by the harness itself, item by item.

Gao et al. 2024, The Language Model Evaluation Harness. The harness reads the model that is given to
it, so base and tuned model are scored in one process.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from torch import nn

from peftlens.errors import InputError


@dataclass(frozen=True)
class HarnessItem:
    """Score of one document of a task.

    Attributes:
        task: name of the task.
        item: index of the document in the task's test split.
        metric: name of the metric, such as acc, with its filter unless that is none.
        score: value of the metric.
    """

    task: str
    item: int
    metric: str
    score: float


@dataclass(frozen=True)
class HarnessScores:
    """What the harness reports of a model.

    Attributes:
        items: scores of single documents.
        totals: the harness's own number for each task and metric.
    """

    items: tuple[HarnessItem, ...]
    totals: dict[tuple[str, str], float]


def harness_scores(  # noqa: PLR0913  # each is a caller's choice
    model: nn.Module,
    tokenizer: Any,
    tasks: Sequence[str],
    *,
    include_path: str = "",
    limit: int = 0,
    batch_size: int = 8,
) -> HarnessScores:
    """Score a model on tasks of the harness.

    Args:
        model: model in evaluation mode.
        tokenizer: its tokenizer.
        tasks: names of tasks.
        include_path: folder with task files of the user's; empty for none.
        limit: largest number of documents per task; 0 for all.
        batch_size: number of rows per forward pass.

    Raises:
        InputError: the extra is missing, there is no such task, or its data can't be had.
    """
    try:
        lm_eval: Any = import_module("lm_eval")
        models: Any = import_module("lm_eval.models.huggingface")
        registry: Any = import_module("lm_eval.tasks")
    except ImportError as error:
        raise InputError(
            "tasks of lm-evaluation-harness need an extra: pip install 'peftlens[harness]'"
        ) from error
    manager = registry.TaskManager(
        include_path=include_path or None, include_defaults=not include_path
    )
    if missing := [name for name in tasks if name not in manager.all_tasks]:
        raise InputError(f"lm-evaluation-harness has no task {missing[0]!r}")
    wrapped = models.HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
    try:
        found = lm_eval.simple_evaluate(
            model=wrapped,
            tasks=list(tasks),
            task_manager=manager,
            limit=limit or None,
            log_samples=True,
            bootstrap_iters=0,
        )
    except (OSError, ValueError) as error:  # datasets that can't be loaded
        raise InputError(
            f"lm-evaluation-harness can't score {', '.join(tasks)}: {' '.join(str(error).split())}"
        ) from error
    return _read(found)


def _read(found: Any) -> HarnessScores:
    items, totals = [], {}
    for task, samples in found["samples"].items():
        for sample in samples:
            for metric in sample["metrics"]:
                if isinstance(value := sample[metric], (int, float)):
                    name = _name(metric, sample.get("filter", "none"))
                    items.append(HarnessItem(task, int(sample["doc_id"]), name, float(value)))
        for key, value in found["results"][task].items():
            metric, _, kept = key.partition(",")
            if kept and "_stderr" not in metric and isinstance(value, (int, float)):
                totals[task, _name(metric, kept)] = float(value)
    return HarnessScores(tuple(items), totals)


def _name(metric: str, kept: str) -> str:
    return metric if kept == "none" else f"{metric},{kept}"
