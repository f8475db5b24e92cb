import pytest

from peftlens.data.tagging import rating, tagged_words
from peftlens.data.task import Rating, TaggedWords


@pytest.mark.parametrize(("cell", "value"), [(1, 1.0), ("2.5", 2.5), (-0.25, -0.25), ("1e3", 1e3)])
def test_numbers(cell, value):
    found = rating("a", "b", cell)
    assert isinstance(found, Rating)
    assert (found.prompt, found.second, found.value) == ("a", "b", value)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (None, "the number is missing"),
        (float("nan"), "the number is missing"),
        (" ", "the number is empty"),
        ([1], "the number is a list instead of text"),
        ("good", "the label is no number"),
        ("inf", "the label is no finite number"),
    ],
)
def test_what_is_no_number(cell, reason):
    assert rating("a", "", cell) == reason


def test_words_with_tags():
    found = tagged_words(["Ann", "met", 3], ["B-PER", "O", 0])
    assert isinstance(found, TaggedWords)
    assert found.words == ("Ann", "met", "3")
    assert found.tags == ("B-PER", "O", "0")
    assert found.prompt == "Ann met 3"


@pytest.mark.parametrize(
    ("words", "tags", "reason"),
    [
        ("Ann met", "B-PER O", "words and tags are not both lists"),
        (["a"], None, "words and tags are not both lists"),
        (["a", "b"], ["O"], "another number of tags than of words"),
        (["a", None], ["O", "O"], "a word is missing"),
        (["a", "b"], ["O", ""], "a tag is empty"),
        ([], [], "no words"),
    ],
)
def test_rows_that_can_t_be_used(words, tags, reason):
    assert tagged_words(words, tags) == reason
