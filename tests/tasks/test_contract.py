"""What every task must keep."""

import pytest

from peftlens import registry
from peftlens.data.task import SPLITS
from peftlens.tasks import _load, load_task

BUILT_IN = [name for name in registry.names("tasks") if name not in ("file", "hub")]


@pytest.mark.parametrize("name", BUILT_IN)
def test_examples_are_whole_and_stand_in_one_split(name):
    task = load_task(name, {})
    assert task.name == name
    assert [*task.splits] == [*SPLITS]
    texts = [
        example.prompt or example.answers[0]
        for examples in task.splits.values()
        for example in examples
    ]
    assert len(set(texts)) == len(texts)
    for examples in task.splits.values():
        assert examples
        for example in examples:
            assert 0 <= example.correct < len(example.answers)
            if task.kind == "classification":
                assert example.answers == task.labels
            if task.kind == "multiple_choice":
                assert len(set(example.answers)) == len(example.answers) > 1


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_same_data_each_time(name):
    first = load_task(name, {})
    _load.cache_clear()
    again = load_task(name, {})
    assert again is not first
    assert (again.sha256, again.splits) == (first.sha256, first.splits)
