import pytest

from peftlens.data.formatting import Columns, examples, fill
from peftlens.data.task import Example, Note
from peftlens.errors import InputError
from peftlens.io.records import Records


def read(rows, *, class_names=None, **columns):
    names = [*dict.fromkeys(name for row in rows for name in row)]
    records = Records(name="rows", rows=rows, columns=names, class_names=class_names or {})
    return list(examples(records, Columns(**columns)))


def test_classification_takes_classes_from_the_column():
    rows = [{"text": "x", "label": "no"}, {"text": "y", "label": "yes"}]
    assert read(rows, template="Q: {text}") == [
        Example("Q: x", (" no", " yes"), 0),
        Example("Q: y", (" no", " yes"), 1),
    ]


def test_labels_are_written_as_asked():
    rows = [{"text": "x", "label": 0}, {"text": "y", "label": 1}]
    found = read(rows, labels={"0": "negative", "1": "positive"})
    assert found[1].answers == (" negative", " positive")
    assert found[1].correct == 1


def test_class_without_a_written_label():
    rows = [{"text": "x", "label": "2"}]
    with pytest.raises(InputError, match="label '2' of rows is not in labels; it has 0"):
        read(rows, labels={"0": "negative"})


def test_missing_column_lists_the_present_ones():
    with pytest.raises(InputError, match="has no column 'text'; its columns: body, label"):
        read([{"body": "x", "label": "a"}])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": None, "label": "a"}, "missing"),
        ({"text": float("nan"), "label": "a"}, "missing"),
        ({"text": "  ", "label": "a"}, "empty"),
        ({"text": "\ud800", "label": "a"}, "not valid Unicode"),
        ({"text": "x", "label": None}, "no label"),
    ],
)
def test_rows_that_can_not_be_used_say_why(row, reason):
    good = {"text": "x", "label": "a"}
    assert read([good, row])[1] == reason


def test_braces_in_a_users_text_stay_text():
    assert (
        read([{"text": "{label} {0}", "label": "a"}], template="{text}")[0].prompt == "{label} {0}"
    )


def test_multiple_choice_by_text_index_and_list():
    columns = {"kind": "multiple_choice", "template": "{q}", "options": ("x", "y"), "label": "key"}
    rows = [
        {"q": "1?", "x": "one", "y": "two", "key": "two"},
        {"q": "2?", "x": "a", "y": "b", "key": 0},
    ]
    assert [example.correct for example in read(rows, **columns)] == [1, 0]
    listed = [{"q": "1?", "choices": ["one", "two"], "key": "one"}]
    (example,) = read(listed, **columns | {"options": ("choices",)})
    assert example == Example("1?", (" one", " two"), 0)


def test_multiple_choice_label_that_is_no_option():
    columns = {"kind": "multiple_choice", "template": "{q}", "options": ("x", "y"), "label": "key"}
    assert read([{"q": "?", "x": "one", "y": "two", "key": "7"}], **columns) == [
        "label is not an option"
    ]


def test_language_modeling_needs_no_label():
    assert read([{"text": "a b"}], kind="language_modeling", template="{text}") == [
        Example("", ("a b",))
    ]


def test_template_without_columns():
    with pytest.raises(InputError, match="uses no column"):
        read([{"text": "x", "label": "a"}], template="always the same")


def test_no_rows():
    with pytest.raises(InputError, match="rows has no rows"):
        read([])


@pytest.mark.parametrize(
    "template", ["{text:>4000000000}", "{text:{label}}", "{text:_<20000}", "{text:9>10001}"]
)
def test_templates_may_not_make_texts_of_any_length(template):
    with pytest.raises(InputError, match=r"of \{text\} may have no braces, and no number above"):
        read([{"text": "x", "label": "9"}], template=template)
    with pytest.raises(InputError, match="may have no braces"):
        fill(template, {"text": "x", "label": "9"})


def test_a_format_may_cut_or_pad_a_little():
    rows = [{"text": "abcdef", "label": "a"}]
    assert read(rows, template="{text:.3}|{label:>3}")[0].prompt == "abc|  a"


def test_cells_that_are_not_text():
    rows = [
        {"text": cell, "label": "a"} for cell in (b"caf\xc3\xa9", 3.0, ["x"], {"x": 1}, b"\xff")
    ]
    first, second, *reasons = read(rows, template="{text}")
    assert (first.prompt, second.prompt) == ("café", "3")
    assert reasons == [
        "a list instead of text", "an object instead of text", "bytes that are not UTF-8",
    ]  # fmt: skip
    (one,) = read([{"text": "x", "label": ["a"]}])
    assert one == "the label is a list instead of text"


def test_labels_of_mixed_types_are_classes_by_their_text():
    rows = [{"text": str(n), "label": label} for n, label in enumerate([1, "1", 1.0, b"1", "0", 0])]
    found = read(rows)
    assert {example.answers for example in found} == {(" 0", " 1")}
    assert [example.correct for example in found] == [1, 1, 1, 1, 0, 0]


def test_merged_labels_are_noted():
    note, *found = read([{"text": "x", "label": "no"}, {"text": "y", "label": "no\u00a0"}])
    assert isinstance(note, Note)
    assert {example.correct for example in found} == {0}


def test_ids_of_classes_are_written_by_their_names():
    rows = [{"text": "x", "label": 1}, {"text": "y", "label": 0}, {"text": "z", "label": -1}]
    names = {"label": ["World", "Sports"]}
    first, second, third = read(rows, class_names=names)
    assert (first.answers[first.correct], second.answers[second.correct]) == (" Sports", " World")
    assert third == "no label"
    mapped = read(rows[:2], class_names=names, labels={"0": "w", "1": "s"})
    assert mapped[0].answers[mapped[0].correct] == " s"


def test_the_id_of_an_option_is_its_index():
    columns = {"kind": "multiple_choice", "template": "{q}", "options": ("x", "y"), "label": "key"}
    rows = [{"q": "?", "x": "one", "y": "two", "key": 1}]
    (found,) = read(rows, class_names={"key": ["choice1", "choice2"]}, **columns)
    assert found.correct == 1


@pytest.mark.parametrize("template", ["{other}", "{0}", "{text.upper}", "{text", "{}"])
def test_templates_that_can_not_be_filled(template):
    with pytest.raises(InputError, match="template|has no column"):
        read([{"text": "x", "label": "a"}], template=template)
    with pytest.raises(InputError, match=r"can't be filled; it may use {text}|literal brace"):
        fill(template.replace("text.", "other."), {"text": "x"})


def test_labels_of_a_choice():
    columns = {"kind": "multiple_choice", "template": "{q}", "options": ("x", "y"), "label": "key"}
    row = {"q": "?", "x": "1", "y": "0"}
    # a number is an index, a text an option; "1" could be either
    assert read([row | {"key": 1}], **columns, label_format="from_0")[0].correct == 1
    with pytest.raises(InputError, match=r"can mean '1' \(text\) or '0' \(from_0\)"):
        read([row | {"key": "1"}], **columns)
    assert read([row | {"key": "1"}], **columns, label_format="text")[0].correct == 0
    assert read([row | {"y": "1", "key": 0}], **columns) == ["equal options"]


def test_rows_that_lack_a_key_are_counted_wherever_they_stand():
    whole, no_text, no_label = {"text": "x", "label": "a"}, {"label": "a"}, {"text": "y"}
    first, second, third = read([no_text, whole, no_label], template="{text}")
    assert (first, third) == ("missing", "no label")
    assert second == Example("x", (" a",), 0)
