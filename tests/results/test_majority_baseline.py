import pandas as pd
import pytest

from peftlens.results.majority_baseline import (
    baseline_accuracy,
    most_frequent,
    sentence,
    sentences,
)


def test_the_most_frequent_class_and_the_first_of_equals():
    assert most_frequent([2, 0, 2, 1]) == 2
    assert most_frequent([1, 0, 0, 1]) == most_frequent([0, 1]) == 0


def test_the_accuracy_of_always_answering_it():
    assert baseline_accuracy(1, [1, 0, 1, 1]) == 3 / 4
    assert baseline_accuracy(5, [1, 0]) == 0
    # two tasks whose most frequent classes differ
    assert baseline_accuracy([0, 0, 1, 1], [0, 1, 1, 1]) == 3 / 4


def test_a_sentence_names_the_class_and_the_examples():
    assert sentence("bad", 0.625, 1600) == (
        "Majority baseline: 62.5% of 1,600 test examples, by always answering 'bad'."
    )
    assert len(sentence("x" * 1000, 0.5, 2)) < 130


def test_a_sentence_for_each_task_with_classes():
    rows = [("good", 0.5, 40), ("good", 0.5, 40), (None, 0.25, 40), ("bad", 0.75, 8)]
    frame = pd.DataFrame(rows, columns=["majority_class", "majority_accuracy", "n_items"])
    found = [*sentences(frame)]
    assert found == [sentence("good", 0.5, 40), sentence("bad", 0.75, 8)]
    assert not [*sentences(frame.drop(columns="majority_class"))]


def test_no_test_example_has_no_accuracy():
    with pytest.raises(ZeroDivisionError):
        baseline_accuracy(0, [])
