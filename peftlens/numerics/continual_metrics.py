"""What a matrix of scores says about learning tasks one after the other.

R has shape (T, T): R[i, j] is the score on the j-th task after training on the i-th, tasks in the
order in which they were met. Higher is better.
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
    """Tasks that one configuration was trained on, with one seed.

    Attributes:
        setting: method and hyperparameters.
        regime: one adapter trained on, or a new one for each task, swapped in.
        tasks: in the order in which they were met.
        scores: R, shape (T, T).
        untrained: b, shape (T,).
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
    """Every whole sequence in the table of `sequence_scores`, in both regimes.

    Args:
        rows: columns run, shared_configuration, seed, trained_on, continue_from, task, accuracy, base_accuracy, n_items.
    """
    for key, group in rows.groupby(["shared_configuration", "seed"], sort=False):
        setting, seed = cast("tuple[str, int]", key)
        runs = group.drop_duplicates("run").set_index("run")
        accuracy = group.pivot(index="run", columns="task", values="accuracy").astype(float)
        untrained = group.groupby("task")["base_accuracy"].first().astype(float)
        own = runs[runs["continue_from"].isna()]
        alone = dict(zip(own["trained_on"], own.index, strict=True))
        for chain in _chains(runs["continue_from"]):
            tasks = tuple(runs["trained_on"].loc[chain])
            if len(tasks) < 2 or set(tasks) != set(untrained.index):
                continue
            b = untrained.loc[[*tasks]].to_numpy()
            n_items = int(group["n_items"].min())
            about = {"tasks": tasks, "untrained": b, "n_items": n_items}
            one = accuracy.loc[chain, [*tasks]].to_numpy()
            yield Sequence(setting, ONE, seed, scores=one, **about)
            if set(tasks) <= set(alone):
                each = [accuracy.loc[alone[task], task] for task in tasks]
                # the adapters of tasks to come are not there yet
                swapped = np.where(np.tri(len(tasks), dtype=bool), each, b)
                yield Sequence(setting, SWAPPED, seed, scores=swapped, **about)


def _chains(after: pd.Series) -> Iterator[list[str]]:
    """From each run that no other one goes on from, back to where it began: first run first."""
    for last in after.index.difference(after.dropna().unique()):
        chain, run = [], last
        while isinstance(run, str) and run in after.index:
            chain.insert(0, run)
            run = after[run]
        yield chain


def average_accuracy(scores: ArrayLike) -> float:
    """ACC: the mean score on all tasks after the last one. Source: Lopez-Paz & Ranzato 2017.

    Args:
        scores: R, shape (T, T).
    """
    return float(_square(scores)[-1].mean())


def backward_transfer(scores: ArrayLike) -> float:
    """BWT: how the score on a task has changed since it was trained; negative is forgetting.

    Mean over all tasks but the last of R[T, j] - R[j, j]. Source: Lopez-Paz & Ranzato 2017,
    arXiv:1706.08840, section 2.

    Args:
        scores: R, shape (T, T).
    """
    r = _square(scores)
    return float((r[-1, :-1] - np.diag(r)[:-1]).mean())


def forward_transfer(scores: ArrayLike, untrained: ArrayLike) -> float:
    """FWT: how much better a task goes, before it is trained, than untrained.

    Mean over all tasks but the first of R[j - 1, j] - b_j. Source: as `backward_transfer`.

    Args:
        scores: R, shape (T, T).
        untrained: b, shape (T,), the score of the model before any training.
    """
    r, b = _square(scores), np.asarray(untrained, float)
    return float((np.diag(r, 1) - b[1:]).mean())


def forgetting(scores: ArrayLike) -> float:
    """F: how far the score on a task has fallen below the best that it had; positive is forgetting.

    Mean over all tasks but the last of max over l < T of R[l, j], minus R[T, j]. Source: Chaudhry
    et al. 2018, arXiv:1801.10112, section 3; the maximum is over all earlier steps, also those
    before the task was trained, as they have it.

    Args:
        scores: R, shape (T, T).
    """
    r = _square(scores)
    return float((r[:-1, :-1].max(axis=0) - r[-1, :-1]).mean())


def _square(scores: ArrayLike) -> NDArray[np.float64]:
    """R as floats.

    Raises:
        ValueError: it is not square, or holds fewer than two tasks.
    """
    r = np.asarray(scores, float)
    if r.ndim != 2 or r.shape[0] != r.shape[1] or len(r) < 2:
        raise ValueError(f"R must have shape (T, T) with at least two tasks, not {r.shape}")
    return r
