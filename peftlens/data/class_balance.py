"""Class balance: number of examples of each class, and the majority baseline."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from peftlens.data.task import Task
from peftlens.results import majority_baseline

_SHOWN = 6  # classes in a sentence
_LONGEST = 40  # characters of a class in a sentence


@dataclass(frozen=True, kw_only=True)
class ClassBalance:
    """Examples by class.

    Attributes:
        train: number of training examples of each class, the most frequent first.
        test: number of test examples of each class, in the same order.
        majority_class: the most frequent class of the training split.
        majority_accuracy: accuracy of always answering it, on the test split.
    """

    train: Mapping[str, int]
    test: Mapping[str, int]
    majority_class: str
    majority_accuracy: float

    def in_words(self) -> tuple[str, str]:
        """Describe the balance and the baseline, in a sentence each."""
        n_train = sum(self.train.values())
        shares = [f"{name[:_LONGEST]!r} {n / n_train:.0%}" for name, n in self.train.items()]
        more = [f"{len(shares) - _SHOWN:,} more"] if len(shares) > _SHOWN else []
        classes = ", ".join([*shares[:_SHOWN], *more])
        baseline = majority_baseline.sentence(
            self.majority_class, self.majority_accuracy, sum(self.test.values())
        )
        return f"{len(shares):,} classes of {n_train:,} training examples: {classes}", baseline


def class_balance(task: Task) -> ClassBalance | None:
    """Count the examples of each class; None unless the task is a classification."""
    if task.kind != "classification":
        return None
    train, test = (Counter(one.correct for one in task.splits[name]) for name in ("train", "test"))
    majority = majority_baseline.most_frequent(train.elements())
    order = sorted(range(len(task.labels)), key=lambda index: (-train[index], index))
    names = [label.strip() for label in task.labels]
    return ClassBalance(
        train={names[index]: train[index] for index in order},
        test={names[index]: test[index] for index in order},
        majority_class=names[majority],
        majority_accuracy=majority_baseline.baseline_accuracy(majority, test.elements()),
    )
