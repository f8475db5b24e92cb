"""Continual-learning metrics: ACC, BWT, FWT and forgetting of a score matrix R.

R has shape (T, T): R[i, j] is the score on the j-th task after training on the i-th, tasks in the
order of training. Higher is better.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

ONE, SWAPPED = "one adapter", "swapped"


@dataclass(frozen=True)
class Sequence:
    """Scores of one configuration, trained with one seed on a sequence of tasks.

    Attributes:
        setting: method and hyperparameters.
        regime: `ONE` (one adapter, trained further) or `SWAPPED` (a new adapter for each task).
        tasks: names of the tasks, in the order of training.
        scores: R, shape (T, T).
        untrained: b, shape (T,): scores of the base model.
        n_items: scored examples of the smallest task.
    """

    setting: str
    regime: str
    seed: int
    tasks: tuple[str, ...]
    scores: NDArray[np.float64]
    untrained: NDArray[np.float64]
    n_items: int


def sequences(rows: pd.DataFrame) -> Iterator[Sequence]:
    """Yield every complete sequence in the table of `sequence_scores`, in both regimes.

    Args:
        rows: columns run, shared_configuration, seed, trained_on, continue_from, task, accuracy,
            base_accuracy, n_items.
    """
    for key, group in rows.groupby(["shared_configuration", "seed"], sort=False):
        setting, seed = cast("tuple[str, int]", key)
        runs = group.drop_duplicates("run").set_index("run")
        accuracy = group.pivot(index="run", columns="task", values="accuracy").astype(float)
        untrained = group.groupby("task")["base_accuracy"].first().astype(float)
        from_base = runs[runs["continue_from"].isna()]
        alone = dict(zip(from_base["trained_on"], from_base.index, strict=True))
        for chain in _chains(runs["continue_from"]):
            tasks = tuple(runs["trained_on"].loc[chain])
            if len(tasks) < 2 or set(tasks) != set(untrained.index):
                continue
            b = untrained.loc[[*tasks]].to_numpy()
            n_items = int(group["n_items"].min())
            shared = {"tasks": tasks, "untrained": b, "n_items": n_items}
            one = accuracy.loc[chain, [*tasks]].to_numpy()  # (T, T)
            yield Sequence(setting, ONE, seed, scores=one, **shared)
            if set(tasks) <= set(alone):
                each = [accuracy.loc[alone[task], task] for task in tasks]
                # adapters of later tasks do not exist yet
                swapped = np.where(np.tri(len(tasks), dtype=bool), each, b)
                yield Sequence(setting, SWAPPED, seed, scores=swapped, **shared)


def _chains(after: pd.Series) -> Iterator[list[str]]:
    """Yield each chain of continued runs, first run first."""
    for last in after.index.difference(after.dropna().unique()):
        chain, run = [], last
        while isinstance(run, str) and run in after.index:
            chain.insert(0, run)
            run = after[run]
        yield chain


def average_accuracy(scores: ArrayLike) -> float:
    """ACC: mean score on all tasks after training on the last. Source: Lopez-Paz & Ranzato 2017.

    Args:
        scores: R, shape (T, T).
    """
    return float(_square(scores)[-1].mean())


def backward_transfer(scores: ArrayLike) -> float:
    """BWT: mean change of a task's score since training on it; negative is forgetting.

    Mean over all tasks but the last of R[T, j] - R[j, j]. Source: Lopez-Paz & Ranzato 2017,
    arXiv:1706.08840, section 2.

    Args:
        scores: R, shape (T, T).
    """
    r = _square(scores)
    return float((r[-1, :-1] - np.diag(r)[:-1]).mean())


def forward_transfer(scores: ArrayLike, untrained: ArrayLike) -> float:
    """FWT: mean score on a task just before training on it, minus the untrained model's score.

    Mean over all tasks but the first of R[j - 1, j] - b_j. Source: as `backward_transfer`.

    Args:
        scores: R, shape (T, T).
        untrained: b, shape (T,), the score of the model before any training.
    """
    r, b = _square(scores), np.asarray(untrained, float)
    return float((np.diag(r, 1) - b[1:]).mean())


def forgetting(scores: ArrayLike) -> float:
    """F: mean drop of a task's score below its earlier maximum; positive is forgetting.

    Mean over all tasks but the last of max over l < T of R[l, j], minus R[T, j]. Source: Chaudhry
    et al. 2018, arXiv:1801.10112, section 3; as there, the maximum is over all earlier steps,
    including those before training on the task.

    Args:
        scores: R, shape (T, T).
    """
    r = _square(scores)
    return float((r[:-1, :-1].max(axis=0) - r[-1, :-1]).mean())


def _square(scores: ArrayLike) -> NDArray[np.float64]:
    """Convert R to floats.

    Raises:
        ValueError: R is not square, or holds fewer than two tasks.
    """
    r = np.asarray(scores, float)
    if r.ndim != 2 or r.shape[0] != r.shape[1] or len(r) < 2:
        raise ValueError(f"R must have shape (T, T) with at least two tasks, not {r.shape}")
    return r
