"""Options and right options, as ARC, MMLU, OpenBookQA, CommonsenseQA and MedQA publish them."""

import pytest

from peftlens.data.choices import question, right_options
from peftlens.errors import InputError

ABC = ["this", "that", "else"]


def right(labels, options=ABC, label_format=None):
    questions = [question([options], label) for label in labels]
    return right_options(questions, label_format, "rows")


@pytest.mark.parametrize(
    ("cell", "options", "keys"),
    [
        ({"text": ABC, "label": ["A", "B", "C"]}, ABC, ["A", "B", "C"]),
        ([{"label": "A", "text": "this"}, {"label": "B", "text": "that"}], ABC[:2], ["A", "B"]),
        ({"A": "this", "B": "that", "C": None}, ABC[:2], ["A", "B"]),
        (["this", "that", None], ABC[:2], []),
        ([" this\n", 3, 4.0], ["this", "3", "4"], []),
    ],
)
def test_layouts_of_options(cell, options, keys):
    found = question([cell], "x")
    assert list(found.options) == options
    assert list(found.keys) == keys


@pytest.mark.parametrize(
    ("cells", "label", "reason"),
    [
        (["['a', 'b']"], 0, "the options are one text, not a list"),
        ([5], 0, "fewer than two options"),
        ([["a"]], 0, "fewer than two options"),
        (["a", None, "c"], 0, "an option is missing"),
        (["a", ""], 0, "an option is empty"),
        (["a", ["b"]], 0, "an option is a list instead of text"),
        (["a", "a "], 0, "equal options"),
        (["a", "b"], None, "no label"),
        (["a", "b"], " ", "no label"),
        (["a", "b"], ["a"], "the label is a list instead of text"),
        (["a", "b"], True, "the label is true or false, not an option"),
    ],
)
def test_questions_that_can_not_be_used_say_why(cells, label, reason):
    assert question(cells, label) == reason


def test_letters_and_texts():
    assert right(["A", "B", "C"]) == [0, 1, 2]
    assert right(["b", "(C)", "A."]) == [1, 2, 0]
    assert right(["this", "that ", "D"]) == [0, 1, "label is not an option"]
    assert right(["A", "else"]) == [0, 2]


def test_numbers_count_from_0_where_0_occurs():
    assert right([0, 1, 2]) == [0, 1, 2]
    assert right(["0", "2"]) == [0, 2]
    assert right([0.0, 2.0, -1]) == [0, 2, "label is not an option"]


@pytest.mark.parametrize(
    "labels", [[1, 2, 3], ["1", "2", "3"], [1.0, 3.0], [1, 2], [0, 1, 2, 3], [2]]
)
def test_numbers_are_never_one_off(labels):
    """Counted from 1, possibly counted from 1, or both at once."""
    with pytest.raises(InputError, match="label_format = 'from_[01]' or 'from_[01]'"):
        right(labels)
    assert right([3], label_format="from_1") == [2]
    assert right([3, 1], label_format="from_0") == ["label is not an option", 1]


def test_the_keys_of_a_question_name_its_options():
    """ARC numbers some questions from 1 and letters the others."""
    numbered = question([{"text": ABC, "label": ["1", "2", "3"]}], "1")
    lettered = question([{"text": ABC, "label": ["A", "B", "C"]}], "B")
    assert right_options([numbered, lettered], None, "rows") == [0, 1]


def test_options_that_are_numbers():
    assert right(["4", "5", "6"], ["4", "5", "6"]) == [0, 1, 2]
    assert right([4, 6], [4, 5, 6]) == [0, 2]
    with pytest.raises(InputError, match=r"can mean '2' \(text\) or '0' \(from_0\)"):
        right(["1", "2", "0"], ["2", "1", "0"])


def test_options_that_are_letters():
    with pytest.raises(InputError, match=r"can mean 'A' \(text\) or 'B' \(letter\)"):
        right(["A"], ["B", "A"])
    assert right(["A"], ["B", "A"], "text") == [1]
    blood = question([["A", "B", "AB"]], "C")
    other = question([["0", "A", "B"]], "B")  # means A, the second
    assert right_options([blood, other], None, "rows") == [2, 1]


def test_a_file_of_two_habits_keeps_what_is_certain():
    assert right(["that", "A", 0, "?"]) == [1, 0, 0, "label is not an option"]
    mixed = [question([["B", "this"]], "this"), question([["B", "A"]], "A"),
             question([["x", "y"]], "B")]  # fmt: skip
    assert right_options(mixed, None, "rows") == [1, "label is ambiguous", 1]
