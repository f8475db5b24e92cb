from collections import Counter

import pytest

from peftlens.data.labels import find_classes
from peftlens.errors import InputError


def classes(*labels, written=None, ids=()):
    return find_classes(Counter(labels), written or {}, ids, "rows")


def test_classes_are_sorted_and_written_with_a_space():
    found = classes("b", "a", "b")
    assert found.answers == (" a", " b")
    assert found.index == {"a": 0, "b": 1}
    assert found.notes == ()


@pytest.mark.parametrize("other", ["yes ", "yes\r", "\u00a0yes", "ye\u200bs", "\uff59es"])
def test_labels_that_look_alike_are_one_class_and_told(other):
    found = classes("yes", "yes", other, "no")
    assert found.answers == (" no", " yes")
    assert found.index[other] == found.index["yes"] == 1
    (note,) = found.notes
    assert note.startswith("labels that look alike are one class 'yes': ")
    assert ascii(other) in note
    assert "(2 rows)" in note


def test_forms_of_unicode_are_one_class():
    found = classes("caf\u00e9", "cafe\u0301", "tea")
    assert len(found.answers) == 2
    assert r"'cafe\u0301' (1 rows)" in found.notes[0]


def test_a_single_spelling_loses_the_spaces_around_it():
    found = classes(" yes", " no")
    assert found.answers == (" no", " yes")
    assert found.notes == ("the label ' no' is written 'no'", "the label ' yes' is written 'yes'")


def test_numbers_with_a_gap_are_integers_again():
    found = classes("1.0", "0.0", "10.0")
    assert found.answers == (" 0", " 1", " 10")
    assert len(found.notes) == 3
    mixed = classes("1.0", "1", "0")
    assert mixed.answers == (" 0", " 1")
    assert mixed.index["1.0"] == mixed.index["1"]
    assert classes("1.0", "1.5").answers == (" 1.0", " 1.5")  # ratings
    assert classes("1.0", "beta").answers == (" 1.0", " beta")


def test_case_is_kept_and_told():
    found = classes("Yes", "yes", "no")
    assert len(found.answers) == 3
    assert found.notes == (
        "labels that differ by case only are 2 classes: 'Yes', 'yes'; to make them one, give them "
        "one text in labels",
    )
    written = {"Yes": "yes", "yes": "yes", "no": "no"}
    merged = classes("Yes", "yes", "no", written=written)
    assert sorted(merged.answers) == [" no", " yes"]
    assert merged.index["Yes"] == merged.index["yes"]


def test_texts_of_classes_and_their_ids():
    assert classes("0", "1 ", written={"0": "no", "1": "yes"}).answers == (" no", " yes")
    named = classes("World", "Sports", written={"0": "w", "1": "s"}, ids=("World", "Sports"))
    assert named.answers == (" s", " w")
    by_name = classes("World", written={"World": "w"}, ids=("World", "Sports"))
    assert by_name.answers == (" w",)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"a": "x"}, "label 'b' of rows is not in labels; it has a"),
        ({"a": "x", "a ": "y", "b": "z"}, "two keys that look like 'a '"),
        ({"a": " ", "b": "z"}, "no text for 'a'"),
    ],
)
def test_texts_that_do_not_fit(written, message):
    with pytest.raises(InputError, match=message):
        classes("a", "b", written=written)


def test_a_column_of_texts_is_no_column_of_classes():
    with pytest.raises(InputError, match="are 1,001 classes, and the limit is 1,000"):
        classes(*map(str, range(1001)), *map(str, range(1001)))
    with pytest.raises(InputError, match=r"40 rows of .* 40 different.*set kind = 'generation'"):
        classes(*map(str, range(40)))


@pytest.mark.parametrize(
    ("n", "rows", "told"), [(11, 30, True), (20, 20, True), (11, 200, False), (3, 6, False)]
)
def test_classes_with_few_rows_are_told(n, rows, told):
    notes = classes(*(f"c{number % n}" for number in range(rows))).notes
    assert [note.partition(",")[0] for note in notes] == [f"{n} classes for {rows} rows"] * told
