import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from peftlens.errors import InputError
from peftlens.io.data_files import read
from peftlens.io.records import ReadOptions


def rows(path, **options):
    return [dict(row) for row in read(path, ReadOptions(**options)).rows]


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
