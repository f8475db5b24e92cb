"""Majority baseline: accuracy of always answering the most frequent class of the training split."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import repeat

import pandas as pd

_LONGEST = 40  # characters of a class in a sentence


def most_frequent(classes: Iterable[int]) -> int:
    """Return the index of the most frequent class; of equally frequent ones, the lowest.

    Args:
        classes: index of each training example's class; at least one.
    """
    counts = Counter(classes)
    return int(min(counts, key=lambda index: (-counts[index], index)))


def baseline_accuracy(majority: int | Iterable[int], correct: Iterable[int]) -> float:
    """Return the accuracy of always answering the most frequent class.

    Args:
        majority: index of the class; one for each test example where tasks differ.
        correct: index of each test example's class; at least one.
    """
    chosen = repeat(majority) if isinstance(majority, int) else majority
    right = [one == other for one, other in zip(correct, chosen, strict=False)]
    return sum(right) / len(right)


def sentence(label: str, accuracy: float, n_items: int) -> str:
    """Describe the baseline.

    Args:
        label: the class's name.
        accuracy: accuracy of always answering it, between 0 and 1.
        n_items: number of test examples.
    """
    return (
        f"Majority baseline: {accuracy:.1%} of {n_items:,} test examples, by always answering "
        f"{label[:_LONGEST]!r}."
    )


def sentences(accuracy: pd.DataFrame) -> Iterator[str]:
    """Describe the baseline of each task of a table of `task_accuracy` that has classes.

    Args:
        accuracy: rows of the table, with majority_class, majority_accuracy and n_items; a table of
            an earlier version has no majority_class.
    """
    names = ["majority_class", "majority_accuracy", "n_items"]
    if {*names} <= {*accuracy.columns}:
        for row in accuracy[names].dropna().drop_duplicates().itertuples(index=False):
            yield sentence(*row)
