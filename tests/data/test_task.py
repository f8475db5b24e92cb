import pytest

from peftlens.data.task import Example, Split, build, with_shuffled_labels
from peftlens.errors import InputError

ANSWERS = (" a", " b")


def examples(n):
    return [Example(f"text {i}", ANSWERS, i % 2) for i in range(n)]


def test_splits_are_disjoint_and_have_the_asked_sizes():
    task = build("t", "classification", examples(100), Split(max_train=50))
    sizes = {name: len(part) for name, part in task.splits.items()}
    assert sizes == {"train": 50, "validation": 10, "test": 20}
    prompts = [example.prompt for part in task.splits.values() for example in part]
    assert len(set(prompts)) == len(prompts)
    assert task.labels == ANSWERS


def test_splits_do_not_depend_on_the_sources_order():
    forward, backward = (
        build("t", "classification", order, Split()) for order in (examples(30), examples(30)[::-1])
    )
    assert forward.splits == backward.splits
    assert forward.sha256 == backward.sha256


def test_another_split_seed_gives_other_splits():
    first, second = (
        build("t", "classification", examples(30), Split(seed=seed)) for seed in (0, 1)
    )
    assert first.splits["test"] != second.splits["test"]
    assert first.sha256 != second.sha256


def test_a_repeated_text_can_not_stand_in_two_splits():
    task = build("t", "classification", examples(20) * 3)
    assert task.dropped == {"duplicate": 40}
    assert sum(len(part) for part in task.splits.values()) == 20


def test_one_text_with_two_answers_is_left_out():
    torn = [Example("torn", ANSWERS, 0), Example("torn", ANSWERS, 1)]
    task = build("t", "classification", [*examples(9), *torn])
    assert task.dropped == {"same text, different answers": 2}


def test_a_question_with_shuffled_options_can_not_stand_in_two_splits():
    rows = [Example(f"q{i}", (" a", " b"), 0) for i in range(20)]
    shuffled = [Example(f"q{i}", (" b", " a"), 1) for i in range(20)]
    forward, backward = (
        build("t", "multiple_choice", order) for order in (rows + shuffled, shuffled + rows)
    )
    assert forward.dropped == {"duplicate": 20}
    assert forward.sha256 == backward.sha256


def test_left_out_examples_are_counted_by_reason():
    task = build("t", "classification", [*examples(9), "empty", "empty", "missing"])
    assert task.dropped == {"empty": 2, "missing": 1}


def test_too_few_examples():
    with pytest.raises(InputError, match="has 2 usable examples and needs at least 3"):
        build("t", "classification", [*examples(2), "empty"])


def test_one_class():
    same = [Example(f"text {i}", ANSWERS, 0) for i in range(9)]
    with pytest.raises(InputError, match="one class only"):
        build("t", "classification", same)


@pytest.mark.parametrize("split", [Split(test=0.0), Split(validation=0.6, test=0.5)])
def test_shares_that_leave_nothing(split):
    with pytest.raises(InputError, match="must lie between 0 and 1"):
        build("t", "classification", examples(9), split)


def test_a_maximum_below_one():
    with pytest.raises(InputError, match="max_test=0 must be at least 1"):
        build("t", "classification", examples(9), Split(max_test=0))


def test_shuffled_labels_are_the_same_labels_in_another_order():
    answers = (" a", " b")
    examples = [Example(f"text {i}", answers, i % 2) for i in range(200)]
    examples += [Example(f"open {i}", (" x", " y", " z"), 2) for i in range(20)]
    task = build("t", "multiple_choice", examples)
    shuffled = with_shuffled_labels(task, 0)
    before, after = task.splits["train"], shuffled.splits["train"]
    assert [one.prompt for one in before] == [one.prompt for one in after]
    for n in (2, 3):
        of = [[one.correct for one in part if len(one.answers) == n] for part in (before, after)]
        assert sorted(of[0]) == sorted(of[1])
    moved = sum(a.correct != b.correct for a, b in zip(before, after, strict=True))
    assert 40 < moved < 100  # half of some 140 with two answers
    for name in ("validation", "test"):
        assert task.splits[name] == shuffled.splits[name]
    assert with_shuffled_labels(task, 0) == shuffled
    assert len({task.sha256, shuffled.sha256, with_shuffled_labels(task, 1).sha256}) == 3


def test_a_text_has_no_labels_to_shuffle():
    task = build("t", "language_modeling", [Example("", (f"text {i}",)) for i in range(9)])
    with pytest.raises(InputError, match="no answers to choose from"):
        with_shuffled_labels(task, 0)
