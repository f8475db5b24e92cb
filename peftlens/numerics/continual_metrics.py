"""Continual-learning metrics: ACC, BWT, FWT and forgetting of a score matrix R, with intervals.

R has shape (T + 1, T): R[l, j] is the score on the j-th task after training on l tasks, in the
order of training; R[0] are the scores of the untrained model. Higher is better.

Each metric is a sum of entries of R with weights, and each entry is a mean over the items of its
task. So a metric is a sum over tasks of means over items, whose interval follows from the scores of
single items: another training run would give other scores, and so would other test examples.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from peftlens.numerics.mixed_model import Estimate, crossed_estimate

ONE, SWAPPED = "one adapter", "swapped"
Weigh = Callable[[ArrayLike], NDArray[np.float64]]


@dataclass(frozen=True)
class TaskSequence:
    """Answers of one configuration, trained with one seed on a sequence of T tasks.

    Attributes:
        setting: method and hyperparameters.
        regime: `ONE` (one adapter, trained further) or `SWAPPED` (a new adapter for each task).
        seed: seed of the training runs.
        tasks: names of the tasks, in the order of training.
        right: 1 for each right answer, else 0; indexed by task and item, with a column for each
            number of trained tasks, 0 (the base model) to T.
    """

    setting: str
    regime: str
    seed: int
    tasks: tuple[str, ...]
    right: pd.DataFrame

    @property
    def scores(self) -> NDArray[np.float64]:
        """R, shape (T + 1, T)."""
        return self.right.groupby(level="task").mean().loc[[*self.tasks]].to_numpy().T

    @property
    def n_items(self) -> int:
        """Number of scored examples of the smallest task."""
        return int(self.right.groupby(level="task").size().min())

    def contributions(self, weights: NDArray[np.float64]) -> pd.Series:
        """Sum each item's scores with the weights of its task.

        The sum over tasks of their means over items is the sum of R with these weights.

        Args:
            weights: shape (T + 1, T), for the entries of R.
        """
        task = pd.Index(self.tasks).get_indexer(self.right.index.get_level_values("task"))
        return (self.right * weights.T[task]).sum(axis=1)


def sequences(rows: pd.DataFrame) -> Iterator[TaskSequence]:
    """Yield every complete sequence in the table of `sequence_items`, in both regimes.

    Args:
        rows: columns run, shared_configuration, seed, trained_on, continue_from, task, item, right,
            base_right.
    """
    for key, group in rows.groupby(["shared_configuration", "seed"], sort=False):
        setting, seed = cast("tuple[str, int]", key)
        runs = group.drop_duplicates("run").set_index("run")
        right = group.pivot(index=["task", "item"], columns="run", values="right").astype(float)
        base = group.groupby(["task", "item"])["base_right"].first().astype(float)
        scored = right.index.get_level_values("task")
        from_base = runs[runs["continue_from"].isna()]
        alone = dict(zip(from_base["trained_on"], from_base.index, strict=True))
        for chain in _chains(runs["continue_from"]):
            tasks = tuple(runs["trained_on"].loc[chain])
            if len(tasks) < 2 or set(tasks) != set(scored):
                continue
            one = [base, *(right[run] for run in chain)]
            yield TaskSequence(setting, ONE, seed, tasks, _columns(one))
            if set(tasks) <= set(alone):
                # adapters of later tasks do not exist yet
                swapped = [base]
                for task in tasks:
                    swapped.append(swapped[-1].where(scored != task, right[alone[task]]))
                yield TaskSequence(setting, SWAPPED, seed, tasks, _columns(swapped))


def _columns(right: list[pd.Series]) -> pd.DataFrame:
    return pd.concat(right, axis=1, keys=range(len(right))).dropna()


def _chains(after: pd.Series) -> Iterator[list[str]]:
    """Yield each chain of continued runs, first run first."""
    for last in after.index.difference(after.dropna().unique()):
        chain, run = [], last
        while isinstance(run, str) and run in after.index:
            chain.insert(0, run)
            run = after[run]
        yield chain


def estimate(members: Sequence[TaskSequence], weigh: Weigh) -> Estimate:
    """Estimate a metric of one configuration and regime over its seeds and the tasks' items.

    The seeds' values keep what a seed's scores on several tasks have in common. The weights are
    taken as known: those of `forgetting` depend on R, and with a maximum over noisy scores the
    metric itself is somewhat too large.

    Args:
        members: sequences of the same tasks, one per seed, in any order of the tasks.
        weigh: weights of the metric, such as `forgetting`.
    """
    return _estimate(_parts(members, weigh))


def difference(
    members: Sequence[TaskSequence], others: Sequence[TaskSequence], weigh: Weigh
) -> Estimate:
    """Estimate how much larger a metric is in one configuration than in another.

    Seeds and items are paired: what they have in common cancels.

    Args:
        members: sequences of the one, one per seed.
        others: sequences of the other with the same seeds, tasks and orders.
        weigh: weights of the metric.
    """
    ones, rest = _parts(members, weigh), _parts(others, weigh)
    return _estimate({seed: one - rest[seed] for seed, one in ones.items()})


def _parts(members: Sequence[TaskSequence], weigh: Weigh) -> dict[int, pd.Series]:
    """Return each item's contribution to a metric, by seed, for the tasks that the metric uses."""
    weighted = [(one, weigh(one.scores)) for one in members]
    used = {one.tasks[j] for one, weights in weighted for j in np.flatnonzero(weights.any(axis=0))}
    parts = {one.seed: one.contributions(weights) for one, weights in weighted}
    return {seed: items[items.index.isin(used, level="task")] for seed, items in parts.items()}


def _estimate(parts: dict[int, pd.Series]) -> Estimate:
    items = pd.concat(parts, axis=1, join="inner").dropna()  # (items, seeds)
    return sum_of_means(items.to_numpy().T, items.index.get_level_values("task"))


def sum_of_means(values: ArrayLike, tasks: ArrayLike) -> Estimate:
    """Estimate the sum over tasks of the mean over seeds and items.

    The tasks are fixed, their items and the seeds are random: the model of `crossed_estimate` with
    the items stratified by task. Each item's deviation from its task's mean is scaled so that the
    variance of N items' mean is the sum of the variances of the tasks' means.

    Args:
        values: shape (seeds, N).
        tasks: task of each item, shape (N,).

    Source: Cochran 1977, Sampling Techniques, section 5.3 (stratified random sampling).
    """
    array = np.asarray(values, float)
    names, codes, sizes = np.unique(np.asarray(tasks), return_inverse=True, return_counts=True)
    membership = np.eye(len(names))[codes]  # (N, tasks)
    means = array @ membership / sizes  # (seeds, tasks)
    totals = means.sum(axis=1)  # (seeds,)
    if sizes.min() < 2:
        return Estimate(float(totals.mean()))
    n, n_task = len(codes), sizes[codes]
    scale = np.sqrt(n * (n - 1) / (n_task * (n_task - 1)))  # (N,)
    return crossed_estimate(totals[:, None] + scale * (array - means[:, codes]))


def average_accuracy(scores: ArrayLike) -> NDArray[np.float64]:
    """Weights of ACC: mean score on all tasks after training on the last.

    Args:
        scores: R, shape (T + 1, T).

    Returns:
        Weights of the entries of R, of the same shape.

    Source: Lopez-Paz & Ranzato 2017, arXiv:1706.08840, section 2.
    """
    weights = _zeros(scores)
    weights[-1] = 1 / len(weights[-1])
    return weights


def learning_accuracy(scores: ArrayLike) -> NDArray[np.float64]:
    """Weights of the learning accuracy: mean score on each task right after training on it.

    Args:
        scores: R, shape (T + 1, T).

    Returns:
        Weights of the entries of R, of the same shape.

    Source: Riemer et al. 2019, arXiv:1810.11910, section 5.
    """
    weights = _zeros(scores)
    tasks = np.arange(weights.shape[1])
    weights[tasks + 1, tasks] = 1 / len(tasks)
    return weights


def backward_transfer(scores: ArrayLike) -> NDArray[np.float64]:
    """Weights of BWT: mean change of a task's score since training on it; negative is forgetting.

    Mean over all tasks but the last of R[T, j] - R[j, j].

    Args:
        scores: R, shape (T + 1, T).

    Returns:
        Weights of the entries of R, of the same shape.

    Source: as `average_accuracy`.
    """
    weights = _zeros(scores)
    earlier = np.arange(weights.shape[1] - 1)
    weights[-1, earlier] = 1 / len(earlier)
    weights[earlier + 1, earlier] = -1 / len(earlier)
    return weights


def forward_transfer(scores: ArrayLike) -> NDArray[np.float64]:
    """Weights of FWT: mean score on a task just before training on it, minus the untrained score.

    Mean over all tasks but the first of R[j - 1, j] - R[0, j].

    Args:
        scores: R, shape (T + 1, T).

    Returns:
        Weights of the entries of R, of the same shape.

    Source: as `average_accuracy`.
    """
    weights = _zeros(scores)
    later = np.arange(1, weights.shape[1])
    weights[later, later] = 1 / len(later)
    weights[0, later] = -1 / len(later)
    return weights


def forgetting(scores: ArrayLike) -> NDArray[np.float64]:
    """Weights of F: mean drop of a task's score below its earlier maximum; positive is forgetting.

    Mean over all tasks but the last of max over 1 <= l < T of R[l, j], minus R[T, j]. As in the
    source, the maximum is over all earlier steps, including those before training on the task.

    Args:
        scores: R, shape (T + 1, T).

    Returns:
        Weights of the entries of R, of the same shape; the first of equal maxima counts.

    Source: Chaudhry et al. 2018, arXiv:1801.10112, section 3.
    """
    weights = _zeros(scores)
    earlier = np.arange(weights.shape[1] - 1)
    best = 1 + np.asarray(scores, float)[1:-1, :-1].argmax(axis=0)  # (T - 1,)
    weights[best, earlier] = 1 / len(earlier)
    weights[-1, earlier] = -1 / len(earlier)
    return weights


def _zeros(scores: ArrayLike) -> NDArray[np.float64]:
    """Return weights of zero in the shape of R.

    Raises:
        ValueError: R is not of shape (T + 1, T), or holds fewer than two tasks.
    """
    shape = np.shape(scores)
    if len(shape) != 2 or shape[0] != shape[1] + 1 or shape[1] < 2:
        raise ValueError(f"R must have shape (T + 1, T) with at least two tasks, not {shape}")
    return np.zeros(shape)
