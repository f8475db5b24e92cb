import json

import pytest

from peftlens.errors import InputError
from peftlens.io import json_file
from peftlens.io.data_files import read
from peftlens.io.records import ReadOptions


def write(path, content, encoding="utf-8"):
    path.write_bytes(content.encode(encoding))
    return path


def rows(path, **options):
    return [dict(row) for row in read(path, ReadOptions(**options)).rows]


EXPECTED = [{"text": "one", "label": "a"}, {"text": "two", "label": "b"}]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", json.dumps(EXPECTED, indent=1)),
        ("a.json", "\n".join(map(json.dumps, EXPECTED))),  # as many hubs name JSON lines
        ("a.jsonl", "\n\n".join(map(json.dumps, EXPECTED))),
        ("a.json", '{"text": ["one", "two"], "label": ["a", "b"]}'),
        ("a.json", '{"text": {"0": "one", "1": "two"}, "label": {"0": "a", "1": "b"}}'),
    ],
)
def test_forms(name, content, tmp_path):
    """An array of objects, one object per line, and columns as lists or as pandas writes them."""
    assert rows(write(tmp_path / name, content)) == EXPECTED


def test_a_column_may_hold_lists(tmp_path):
    path = write(tmp_path / "a.json", '{"q": ["x"], "options": [["a", "b"]]}')
    assert rows(path) == [{"q": "x", "options": ["a", "b"]}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 1}', "neither an array of objects, .* nor an object of columns"),
        ('{"a": [1], "b": 2}', "neither an array.*; write the list at its key 'a' alone"),
        ('{"data": [{"a": 1}, {"a": 2}]}', "write the list at its key 'data' alone"),
        ("{}", "neither an array of objects"),
        ('"text"', "it is not an array of objects"),
        ("3", "it is not an array of objects"),
        ('{"text": ["x", "y"], "label": ["a"]}', "different lengths: 'text' 2, 'label' 1"),
        ('{"text": {"0": "x"}, "label": {"1": "a"}}', "its columns have different keys"),
    ],
)
def test_objects_that_are_no_columns(content, message, tmp_path):
    with pytest.raises(InputError, match=message) as error:
        read(write(tmp_path / "a.json", content), ReadOptions())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.jsonl", '[{"a": 1}]', {}, "line 1 is not a JSON object; .*must end in .json"),
        ("a.jsonl", '{"a": 1, "a": 2}', {}, "line 1: the key 'a' stands 2 times"),
        ("a.json", '[{"a": {"b": 1, "b": 2}}]', {}, "the key 'b' stands 2 times"),
        ("a.json", "[" + "{}," * 99 + "{}]", {"max_rows": 5}, "it has 101 objects and lists, and"),
        ("a.json", "[1]", {}, "entry 1 of its array is not an object"),
        ("a.json", "[" * 100_000, {}, "nested too deeply"),
        ("a.json", '{"a":' * 100_000, {}, "nested too deeply"),
        ("a.jsonl", '{"a":' + "[" * 100_000, {}, "nested too deeply"),
        ("a.jsonl", '{"a": ' + "9" * 5000 + "}", {}, "line 1: Exceeds the limit"),
    ],
)
def test_files_that_can_not_be_read(name, content, options, message, tmp_path):
    with pytest.raises(InputError, match=message) as error:
        read(write(tmp_path / name, content), ReadOptions(**options))
    assert "\n" not in str(error.value)


def test_a_file_that_is_too_large_to_parse(tmp_path, monkeypatch):
    monkeypatch.setattr(json_file, "_LARGEST", 100)
    path = write(tmp_path / "a.json", json.dumps([{"text": "x" * 100}]))
    with pytest.raises(InputError, match="it has more than 100 characters, the limit; write one"):
        read(path, ReadOptions())
