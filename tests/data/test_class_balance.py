import pytest

from peftlens.data.class_balance import class_balance
from peftlens.data.task import Example, Task


def task(train, test, labels=(" bad", " good"), kind="classification"):
    splits = {
        "train": tuple(Example(f"t{n}", labels, one) for n, one in enumerate(train)),
        "validation": (Example("v", labels, 0),),
        "test": tuple(Example(f"s{n}", labels, one) for n, one in enumerate(test)),
    }
    return Task("t", kind, labels, splits, {}, "digest")


def test_by_hand():
    """Three of four training examples are good, and so are two of five test examples."""
    found = class_balance(task([1, 1, 0, 1], [0, 0, 1, 0, 1]))
    assert found.train == {"good": 3, "bad": 1}
    assert found.test == {"good": 2, "bad": 3}
    assert [*found.train] == [*found.test] == ["good", "bad"]
    assert (found.majority_class, found.majority_accuracy) == ("good", 2 / 5)
    assert found.in_words() == (
        "2 classes of 4 training examples: 'good' 75%, 'bad' 25%",
        "Majority baseline: 40.0% of 5 test examples, by always answering 'good'.",
    )


def test_a_class_without_a_training_example_is_counted():
    found = class_balance(task([0, 0], [1]))
    assert found.train == {"bad": 2, "good": 0}
    assert found.majority_accuracy == 0


def test_many_classes_are_cut():
    labels = tuple(f" c{n}" for n in range(10))
    balance, _ = class_balance(task([*range(10), 3], [3], labels)).in_words()
    assert balance.startswith("10 classes of 11 training examples: 'c3' 18%, 'c0' 9%, ")
    assert balance.endswith("'c5' 9%, 4 more")


@pytest.mark.parametrize("kind", ["multiple_choice", "regression", "generation"])
def test_tasks_without_classes_have_none(kind):
    assert class_balance(task([0], [0], kind=kind)) is None
