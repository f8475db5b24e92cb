import pytest

from peftlens.data.column_roles import read_with_roles
from peftlens.data.formatting import Columns
from peftlens.errors import InputError
from peftlens.io.records import Records

TEXTS = [f"text {n}" for n in range(6)]
CLASSES = ["a", "b"] * 3


def find(table, *, remedy="", class_names=None, **options):
    """Read a table, a list of cells for each column; return its records and what was read."""
    seen = []

    def read(used):
        seen.append([*used])
        kept = {name: cells for name, cells in table.items() if name in used}
        rows = [
            dict(zip(kept, cells, strict=True)) for cells in zip(*kept.values(), strict=True)
        ] or [{}] * len(next(iter(table.values())))
        return Records(
            name="t", rows=rows, columns=[*table], remedy=remedy, class_names=class_names or {}
        )

    return read_with_roles(Columns(**options), read), seen


def roles(table, **options):
    found, _ = find(table, **options)
    return found.notes[0] if found.notes else None


@pytest.mark.parametrize(
    ("table", "options"),
    [
        ({"review": TEXTS, "stars": CLASSES}, {}),  # names and values
        ({"stars": CLASSES, "review": TEXTS}, {}),  # in any order
        ({"Review ": TEXTS, "STARS": CLASSES}, {}),
        ({"foo": TEXTS, "bar": CLASSES}, {}),  # values alone
        ({"": range(6), "review": TEXTS, "stars": CLASSES}, {}),  # an index, as pandas writes it
        ({"id": range(6), "foo": TEXTS, "bar": CLASSES}, {}),
        ({"foo": TEXTS, "bar": [1, 2, 1, 2, 1, 2]}, {}),
        ({"foo": TEXTS, "bar": [0.5, 1, 2, 3, 4, 5]}, {"kind": "regression"}),
        ({"question": TEXTS, "answer": TEXTS}, {"kind": "generation"}),
        ({"foo": TEXTS, "answer": TEXTS}, {"kind": "generation"}),
        ({"question": TEXTS, "answer": [["x"]] * 6}, {"kind": "generation"}),
        ({"foo": ["x", "x", "y", "z"], "category": ["a", "a", "a", "b"]}, {}),
        ({"question": TEXTS, "answer": TEXTS[::-1]}, {}),  # which then is one class per row
    ],
)
def test_two_obvious_columns(table, options):
    found, _ = find(table, **options)
    text, label = (name for name in table if name not in ("", "id"))
    if "tars" in text or "TARS" in text:
        text, label = label, text
    assert found.notes == (f"Columns: text = {text}, label = {label}",)
    assert [row["text"] for row in found.rows] == table[text]
    assert [row["label"] for row in found.rows] == table[label]
    assert {"text", "label"} <= {*found.columns}


def test_what_an_option_names_is_not_guessed():
    table = {"review": TEXTS, "stars": CLASSES}
    assert roles(table, template="{review} ->") == "Columns: label = stars"
    assert roles(table, label="stars") == "Columns: text = review"
    assert roles(table, template="{review}", label="stars") is None
    assert roles({"title": TEXTS, "body": TEXTS, "stars": CLASSES},
                 template="{title} {body}") == "Columns: label = stars"  # fmt: skip
    assert roles({"text": TEXTS, "stars": CLASSES}) == "Columns: label = stars"
    assert roles({"review": TEXTS, "label": CLASSES}) == "Columns: text = review"
    assert roles({"text": TEXTS, "label": CLASSES}) is None


def test_one_column_of_running_text():
    assert roles({"story": TEXTS}, kind="language_modeling") == "Columns: text = story"
    assert roles({"n": [1, 2]}, kind="language_modeling") is None
    assert roles({"story": TEXTS, "source": TEXTS}, kind="language_modeling") is None


@pytest.mark.parametrize(
    ("table", "options"),
    [
        ({"foo": TEXTS, "bar": TEXTS}, {}),  # neither recurs
        ({"foo": CLASSES, "bar": CLASSES}, {}),  # both do
        ({"foo": TEXTS, "bar": TEXTS}, {"kind": "generation"}),  # no name decides
        ({"review": TEXTS, "stars": CLASSES, "user": CLASSES}, {}),  # three columns
        ({"user": [101, 102, 103, 104], "stars": ["a", "b", "a", "b"]}, {}),  # numbers are no text
        ({"review": TEXTS}, {}),
        ({"foo": TEXTS, "bar": TEXTS}, {"kind": "regression"}),  # no numbers
        ({"foo": [None] * 6, "bar": CLASSES}, {}),
        ({"review": TEXTS, "review ": TEXTS, "stars": CLASSES}, {}),
    ],
)
def test_ambiguous_columns_are_listed(table, options):
    found, _ = find(table, **options)
    assert not found.notes
    assert list(found.columns) == [*table]
    with pytest.raises(InputError) as error:
        found.require_columns(["text", "label"])
    message = str(error.value)
    assert f"its columns: {', '.join(table)}; write template = '{{COLUMN}}' for the te" in message
    assert "label = 'COLUMN' for the label" in message


def test_only_what_is_missing_is_asked_for():
    table = {"text": TEXTS, "a": CLASSES, "b": CLASSES}
    with pytest.raises(InputError, match="a, b; write label = 'COLUMN' for the label$"):
        find(table)[0].require_columns(["text", "label"])


@pytest.mark.parametrize(
    ("table", "options"),
    [
        ({"prompt": TEXTS, "completion": TEXTS}, {}),  # a conversation
        ({"review": TEXTS, "stars": CLASSES}, {"kind": "preference"}),
        ({"review": TEXTS, "stars": CLASSES}, {"kind": "chat"}),
        ({"review": TEXTS, "stars": CLASSES}, {"kind": "token_classification"}),
        ({"review": TEXTS, "stars": CLASSES}, {"template": "{text}", "pair": "{review}"}),
        ({"review": TEXTS, "stars": CLASSES}, {"template": "{typo}"}),
        ({"review": TEXTS, "stars": CLASSES}, {"label": "typo"}),
    ],
)
def test_what_is_read_as_it_is(table, options):
    found, seen = find(table, **options)
    assert not found.notes
    assert not found.remedy
    assert len(seen) == 1


def test_names_that_may_be_data_are_not_guessed():
    found, _ = find({"It works": TEXTS, "good": CLASSES}, remedy="; its first line is data")
    assert not found.notes
    assert found.remedy == "; its first line is data"


def test_only_the_columns_of_the_roles_are_read():
    _, seen = find({"id": range(6), "review": TEXTS, "stars": CLASSES})
    assert seen == [["text", "label"], ["review", "stars"]]
    assert find({"text": TEXTS, "label": CLASSES, "more": TEXTS})[1] == [["text", "label"]]


def test_names_of_classes_and_control_characters():
    names = {"sta\x1brs": ["bad", "good"]}
    found, _ = find({"review": TEXTS, "sta\x1brs": [0, 1] * 3}, class_names=names)
    assert found.class_names == {"label": ["bad", "good"]}
    assert found.notes == ("Columns: text = review, label = sta<U+001B>rs",)
