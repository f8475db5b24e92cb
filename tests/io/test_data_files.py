import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from peftlens.errors import InputError
from peftlens.io import data_files
from peftlens.io.data_files import ReadOptions, Records, read

TEXT = "text,label\nHello; world,a\nBye,b\n"


def write(path, content, encoding="utf-8"):
    path.write_bytes(content.encode(encoding))
    return path


def rows(path, **options):
    return [dict(row) for row in read(path, ReadOptions(**options)).rows]


EXPECTED = [{"text": "Hello; world", "label": "a"}, {"text": "Bye", "label": "b"}]


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("a.csv", TEXT, {}),
        ("a.CSV", TEXT.replace("\n", "\r\n"), {}),
        ("a.csv", TEXT.replace("\n", "\r"), {}),
        ("a.csv", "\ufeff" + TEXT, {}),
        ("a.csv", "sep=,\n" + TEXT, {}),
        ("a.csv", TEXT.replace("text,label", "text , label"), {}),
        ("a.csv", TEXT.replace(",", "|"), {"separator": "|"}),
        ("a.csv", 'text;label\n"Hello; world";a\nBye;b\n', {"separator": ";"}),
        ("a.tsv", TEXT.replace(",", "\t"), {}),
        ("a.tsv", TEXT, {"separator": ","}),
        ("a.csv", TEXT.replace(",", "\t"), {"separator": r"\t"}),
        ("a.json", json.dumps(EXPECTED, indent=1), {}),
        ("a.json", "\n".join(map(json.dumps, EXPECTED)), {}),  # as many hubs name JSON lines
        ("a.jsonl", "\n\n".join(map(json.dumps, EXPECTED)), {}),
    ],
)
def test_formats(name, content, options, tmp_path):
    assert rows(write(tmp_path / name, content), **options) == EXPECTED


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-8-sig"])
def test_encodings(encoding, tmp_path):
    for name in ("a.csv", "a.jsonl", "a.json"):
        content = "text\ncafé\n" if name == "a.csv" else '{"text": "café"}\n'
        content = f"[{content}]" if name == "a.json" else content
        path = write(tmp_path / name, content, encoding)
        assert rows(path, encoding=encoding) == [{"text": "café"}]


def test_another_encoding_is_named(tmp_path):
    for encoding in ("latin-1", "utf-16"):
        path = write(tmp_path / "a.csv", "text\ncafé\n", encoding)
        with pytest.raises(InputError, match="can't be read as csv: .*write its encoding, such as"):
            read(path, ReadOptions())


def test_quotes_may_be_text(tmp_path):
    path = write(tmp_path / "a.tsv", 'text\tlabel\n"Hello\ta\nHe said "ok"\tb\n')
    with pytest.raises(InputError, match="line .*: .*; if double quotes are part of the texts"):
        read(path, ReadOptions())
    assert [row["text"] for row in rows(path, quotes=False)] == ['"Hello', 'He said "ok"']


def test_rows_that_are_short_lack_cells_and_blank_lines_are_none(tmp_path):
    path = write(tmp_path / "a.csv", "\n\ntext,label\n\nx\n")
    assert rows(path) == [{"text": "x", "label": None}]


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.csv", "a;b\n1,2;3\n", {}, 'more cells than the header; .*write separator = ";"'),
        ("a.csv", "a\n1\n", {"separator": ";;"}, "must be one character"),
        ("a.csv", "a\n1\n", {"separator": '"'}, "must be one character"),
        ("a.jsonl", "{}", {"separator": ","}, "is for .csv and .tsv"),
        ("a.csv", "a\n1\n", {"encoding": "rot13"}, "encoding='rot13' is not known"),
        ("a.csv", "a\n1\n", {"encoding": "no\x00"}, "is not known"),
        ("a.csv", "a\n1\n", {"max_rows": 0}, "max_rows=0 must be at least 1"),
        ("a.jsonl", '[{"a": 1}]', {}, "line 1 is not a JSON object; .*must end in .json"),
        ("a.jsonl", '{"a": 1, "a": 2}', {}, "line 1: the key 'a' stands 2 times"),
        ("a.json", '[{"a": {"b": 1, "b": 2}}]', {}, "the key 'b' stands 2 times"),
        ("a.json", '{"a": [1]}', {}, "not an array of objects"),
        ("a.json", "[" + "{}," * 99 + "{}]", {"max_rows": 5}, "it has 101 objects and lists, and"),
        ("a.json", "[1]", {}, "entry 1 of its array is not an object"),
        ("a.json", "[" * 100_000, {}, "nested too deeply"),
        ("a.jsonl", '{"a":' + "[" * 100_000, {}, "nested too deeply"),
        ("a.jsonl", '{"a": ' + "9" * 5000 + "}", {}, "line 1: Exceeds the limit"),
    ],
)
def test_files_that_can_not_be_read(name, content, options, message, tmp_path):
    with pytest.raises(InputError, match=message) as error:
        read(write(tmp_path / name, content), ReadOptions(**options))
    assert "\n" not in str(error.value)


def test_columns_that_come_twice_are_refused_where_they_are_used(tmp_path):
    table = pa.table([["x"], ["y"], ["z"]], names=["text", "text", "label"])
    pq.write_table(table, tmp_path / "a.parquet")
    csv = write(tmp_path / "a.csv", "text,text,label,,\nx,y,z,,\n")
    for path in (csv, tmp_path / "a.parquet"):
        records = read(path, ReadOptions(used=["label"]))
        records.require_columns(["label"])
        with pytest.raises(InputError, match="has 2 columns named 'text'; rename all but one"):
            records.require_columns(["text"])


def test_missing_columns_hint_at_the_separator_and_hide_control_characters(tmp_path):
    records = read(write(tmp_path / "a.csv", "text\tlabel\nx\ty\n"), ReadOptions())
    with pytest.raises(InputError, match=r'text<U\+0009>label; .*separator = "\\t"'):
        records.require_columns(["text"])
    many = Records(name="a", rows=[{}], columns=list(map(str, range(10_000))))
    with pytest.raises(InputError) as error:
        many.require_columns(["text"])
    assert len(str(error.value)) < 300


def test_only_used_columns_are_kept(tmp_path):
    pq.write_table(pa.table({"text": ["x"], "image": [b"\x00" * 100]}), tmp_path / "a.parquet")
    jsonl = write(tmp_path / "a.jsonl", '{"text": "x", "image": "' + "y" * 100 + '"}\n')
    for path in (tmp_path / "a.parquet", jsonl):
        found = read(path, ReadOptions(used=["text"]))
        assert [dict(row) for row in found.rows] == [{"text": "x"}]
        assert list(found.columns) == ["text", "image"]


def test_a_small_file_of_many_rows_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path, texts = tmp_path / "a.parquet", pa.array(["x"] * 1_000_000)
    with pq.ParquetWriter(path, pa.schema([("text", pa.string())])) as writer:
        for _ in range(30):
            writer.write_table(pa.table({"text": texts}))
    assert path.stat().st_size < 400_000
    for name in ("iter_batches", "read", "read_row_group", "read_row_groups"):
        monkeypatch.setattr(pq.ParquetFile, name, lambda *_, **__: pytest.fail("rows were read"))
    with pytest.raises(InputError, match="it has 30,000,000 rows, and the limit is 1,000,000"):
        read(path, ReadOptions())


def test_texts_that_are_too_long_in_all(tmp_path, monkeypatch):
    """A dictionary holds a text once, however often it occurs."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["x" * 100_000] * 1000}), path)
    assert path.stat().st_size < 20_000
    assert len(read(path, ReadOptions()).rows) == 1000
    monkeypatch.setattr(data_files, "_MOST_CHARACTERS", 1_000_000)
    with pytest.raises(InputError, match="hold more than 1,000,000 characters; keep fewer rows"):
        read(path, ReadOptions())
    lists = tmp_path / "lists.jsonl"
    write(lists, json.dumps({"options": ["x" * 600_000, {"text": "x" * 600_000}]}))
    with pytest.raises(InputError, match="hold more than 1,000,000 characters"):
        read(lists, ReadOptions())
    pq.write_table(pa.table({"text": ["x" * 5_000_000]}), path, use_dictionary=False)
    with pytest.raises(InputError, match="its used columns have 5,.* bytes, and the limit is"):
        read(path, ReadOptions())


def test_lines_that_are_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr(data_files, "_LONGEST_LINE", 1000)
    long = json.dumps({"text": "x" * 2000})
    with pytest.raises(InputError, match="line 2 has more than 1,000 characters"):
        read(write(tmp_path / "a.jsonl", f'{{"text": "y"}}\n{long}\n'), ReadOptions())
    with pytest.raises(InputError, match="line 2 has more than 1,000 characters"):
        read(write(tmp_path / "a.csv", f"text\n{'x' * 2000}\n"), ReadOptions())
    with pytest.raises(InputError, match="line .*: field larger than field limit"):
        read(write(tmp_path / "b.csv", 'text\n"' + "x\n" * 2000), ReadOptions())
    monkeypatch.setattr(data_files, "_LARGEST_JSON", 100)
    with pytest.raises(InputError, match="it has 2,012 bytes, and the limit is 100"):
        read(write(tmp_path / "a.json", long), ReadOptions())


def test_types_of_parquet(tmp_path):
    table = pa.table(
        {
            "text": pa.array(["a", None, "a"]).dictionary_encode(),
            "large": pa.array(["b", "c", None], pa.large_string()),
            "n": pa.array([1, None, 3]),
            "list": pa.array([["x", "y"], None, []]),
            "object": pa.array([{"text": ["x"]}, None, {"text": None}]),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    assert rows(tmp_path / "a.parquet") == table.to_pylist()


@pytest.mark.parametrize("metadata", [b"{", b"[]", b'{"info": {"features": {"a": 1}}}', b"null"])
def test_metadata_of_others_is_ignored(metadata, tmp_path):
    table = pa.table({"a": [1]}).replace_schema_metadata({"huggingface": metadata})
    pq.write_table(table, tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", ReadOptions()).class_names == {}
