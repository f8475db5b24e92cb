import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from peftlens.errors import InputError
from peftlens.io import parquet_file, records
from peftlens.io.data_files import read
from peftlens.io.records import ReadOptions, Records, require_rows


def write(path, content, encoding="utf-8"):
    path.write_bytes(content.encode(encoding))
    return path


def test_columns_that_come_twice_are_refused_where_they_are_used(tmp_path):
    table = pa.table([["x"], ["y"], ["z"]], names=["text", "text", "label"])
    pq.write_table(table, tmp_path / "a.parquet")
    csv = write(tmp_path / "a.csv", "text,text,label,,\nx,y,z,,\n")
    for path in (csv, tmp_path / "a.parquet"):
        records = read(path, ReadOptions(used=["label"]))
        records.require_columns(["label"])
        with pytest.raises(InputError, match="has 2 columns named 'text'; rename all but one"):
            records.require_columns(["text"])


def test_missing_columns_are_listed_without_control_characters():
    found = Records(name="a", rows=[{}], columns=["x\ty"], remedy="; rename it")
    with pytest.raises(InputError, match=r"a has no column 'text'; its columns: x<U\+0009>y; re"):
        found.require_columns(["text"])
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


def test_texts_that_are_too_long_in_all(tmp_path, monkeypatch):
    """A dictionary holds a text once, however often it occurs."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["x" * 100_000] * 1000}), path)
    assert path.stat().st_size < 20_000
    assert len(read(path, ReadOptions()).rows) == 1000
    for module in (records, parquet_file):
        monkeypatch.setattr(module, "MOST_CHARACTERS", 1_000_000)
    with pytest.raises(InputError, match="hold more than 1,000,000 characters; keep fewer rows"):
        read(path, ReadOptions())
    lists = tmp_path / "lists.jsonl"
    write(lists, json.dumps({"options": ["x" * 600_000, {"text": "x" * 600_000}]}))
    with pytest.raises(InputError, match="hold more than 1,000,000 characters"):
        read(lists, ReadOptions())
    pq.write_table(pa.table({"text": ["x" * 5_000_000]}), path, use_dictionary=False)
    with pytest.raises(InputError, match="its used columns have 5,.* bytes, and the limit is"):
        read(path, ReadOptions())


def test_rows_are_counted_to_the_limit():
    require_rows(5, 5)
    with pytest.raises(ValueError, match="it has 6 rows, and the limit is 5; keep fewer rows"):
        require_rows(6, 5)
    with pytest.raises(ValueError, match="it has more than 5 rows"):
        require_rows(6, 5, at_least=True)
