"""Tasks of lm-evaluation-harness: scored by the harness itself, item by item.

Gao et al. 2024, The Language Model Evaluation Harness. The harness reads the model that is given to
it, so base and tuned model are scored in one process.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from torch import nn

from peftlens.errors import InputError, did_you_mean, nearest
from peftlens.io.extras import install_command
from peftlens.io.files import sha256_text


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
        lower_is_better: tasks and metrics of which less is better.
    """

    items: tuple[HarnessItem, ...]
    totals: dict[tuple[str, str], float]
    lower_is_better: frozenset[tuple[str, str]] = frozenset()


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
    with _reported(tasks):
        manager = _manager(tasks, include_path)
        wrapped = _package("models.huggingface").HFLM(
            pretrained=model, tokenizer=tokenizer, batch_size=batch_size
        )
        found = _package("evaluator").simple_evaluate(
            model=wrapped,
            tasks=list(tasks),
            task_manager=manager,
            limit=limit or None,
            log_samples=True,
            bootstrap_iters=0,
        )
    return _read(found)


def tasks_sha256(tasks: Sequence[str], include_path: str = "", limit: int = 0) -> str:
    """Hash what scores depend on but the model: the harness, task files, code in them, and rows.

    Args:
        tasks: names of tasks and groups.
        include_path: folder with task files of the user's; empty for none.
        limit: largest number of documents per task; 0 for all.

    Raises:
        InputError: the extra is missing, there is no such task, or its data can't be had.
    """
    with _reported(tasks):
        loaded = _manager(tasks, include_path).load([*tasks])["tasks"]
        inputs = [version("lm_eval"), limit, *(_inputs(task, limit) for task in loaded.values())]
    return sha256_text(json.dumps(inputs, sort_keys=True, default=str))


def _inputs(task: Any, limit: int) -> list[Any]:
    few_shot = list(task.fewshot_docs()) if task.config.num_fewshot else []
    return [task.dump_config(), list(islice(task.eval_docs, limit or None)), few_shot]


def _package(name: str) -> Any:
    """Import a module of the extra `harness`.

    Raises:
        InputError: it is not installed.
    """
    try:
        return import_module(f"lm_eval.{name}")
    except ImportError as error:
        raise InputError(
            f"tasks of lm-evaluation-harness need an extra: {install_command('harness')}"
        ) from error


def _manager(tasks: Sequence[str], include_path: str) -> Any:
    """Return an index of tasks that has all these: of a folder, or of the harness itself.

    Raises:
        InputError: there is no such folder or task.
    """
    folder = Path(include_path).expanduser()
    if include_path and not folder.is_dir():
        raise InputError(
            f"include_path={include_path!r} is no folder; name the one with your task files"
        )
    manager = (
        _package("tasks").TaskManager(include_path=str(folder), include_defaults=False)
        if include_path
        else _own_manager()
    )
    if missing := [name for name in tasks if name not in manager.all_tasks]:
        where = include_path or "lm-evaluation-harness"
        close = did_you_mean(nearest(missing[0], manager.all_tasks))
        remedy = close or "`lm-eval ls tasks` lists the harness's"
        raise InputError(f"{where} has no task {missing[0]!r}; {remedy}")
    return manager


@cache
def _own_manager() -> Any:
    """Index the harness's own tasks once: it reads thousands of files."""
    return _package("tasks").TaskManager()


@contextmanager
def _reported(tasks: Sequence[str]) -> Iterator[None]:
    """Report what the harness raises for task files and data that can't be used, as one line."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns of every default
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, LookupError, ImportError, *_library_errors()) as error:
        raise InputError(
            f"lm-evaluation-harness can't score {', '.join(tasks)}: "
            f"{' '.join(str(error).split()) or type(error).__name__}"
        ) from error
    finally:
        logger.setLevel(level)


def _library_errors() -> tuple[type[Exception], ...]:
    """Errors of the libraries that read task files, their templates and data."""
    names = (("yaml", "YAMLError"), ("jinja2", "TemplateError"), ("datasets.exceptions",
             "DatasetsError"))  # fmt: skip
    return tuple(getattr(import_module(module), name) for module, name in names)


def _read(found: Any) -> HarnessScores:
    items, totals, lower = [], {}, set()
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
                if not found.get("higher_is_better", {}).get(task, {}).get(metric, True):
                    lower.add((task, _name(metric, kept)))
    return HarnessScores(tuple(items), totals, frozenset(lower))


def _name(metric: str, kept: str) -> str:
    return metric if kept == "none" else f"{metric},{kept}"
