import codecs
import csv
import gzip
import json

import pytest

from peftlens.errors import InputError
from peftlens.io import csv_file, text_file
from peftlens.io.data_files import read
from peftlens.io.records import ReadOptions
from peftlens.io.text_file import encoding_hint, suffix_of


def write(path, content, encoding="utf-8"):
    path.write_bytes(content.encode(encoding))
    return path


def rows(path, **options):
    return [dict(row) for row in read(path, ReadOptions(**options)).rows]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-8-sig"])
def test_encodings(encoding, tmp_path):
    for name in ("a.csv", "a.jsonl", "a.json"):
        content = "text\ncafé\n" if name == "a.csv" else '{"text": "café"}\n'
        content = f"[{content}]" if name == "a.json" else content
        path = write(tmp_path / name, content, encoding)
        assert rows(path, encoding=encoding) == [{"text": "café"}]


@pytest.mark.parametrize(
    ("encoding", "told"),
    [
        ("latin-1", "cp1252"),  # which has the same letters
        ("cp1252", "cp1252"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("utf-32", "utf-32"),
    ],
)
def test_another_encoding_is_named(encoding, told, tmp_path):
    for name, content in (("a.csv", "text\ncafé\n"), ("a.jsonl", '{"text": "café"}')):
        path = write(tmp_path / name, content, encoding)
        with pytest.raises(InputError, match=f"it looks like {told}: write encoding = '{told}'"):
            read(path, ReadOptions())
        assert rows(path, encoding=told) == [{"text": "café"}]


def test_a_byte_that_cp1252_lacks_is_latin_1(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"text\n\xe9\x81\n")
    with pytest.raises(InputError, match="it looks like latin-1: write encoding = 'latin-1'"):
        read(tmp_path / "a.csv", ReadOptions())


def test_utf_16_told_as_another_encoding_is_refused(tmp_path):
    """Every byte is a letter of latin-1, so nothing else would find out."""
    path = write(tmp_path / "a.csv", "text,label\nx,a\n", "utf-16")
    with pytest.raises(InputError, match="it looks like utf-16: write encoding = 'utf-16'"):
        read(path, ReadOptions(encoding="latin-1"))


def test_utf_16_without_a_mark_told_as_utf_16(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\nx,a\n", "utf-16-be")
    with pytest.raises(InputError, match="write its encoding, such as"):
        read(path, ReadOptions(encoding="utf-16"))
    assert rows(path, encoding="utf-16-be") == [{"text": "x", "label": "a"}]


def test_a_hint_for_an_error_without_bytes():
    assert encoding_hint(UnicodeError("no mark")).startswith("write its encoding, such as")
    utf_8 = UnicodeDecodeError("ascii", codecs.BOM_UTF8 + b"x", 0, 1, "reason")
    assert encoding_hint(utf_8).startswith("write its encoding, such as")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv.gz", "text,label\nx,a\n"),
        ("a.TSV.GZ", "text\tlabel\nx\ta\n"),
        ("a.json.gz", '[{"text": "x", "label": "a"}]'),
        ("a.jsonl.gz", '{"text": "x", "label": "a"}\n'),
    ],
)
def test_compressed_files(name, content, tmp_path):
    path = tmp_path / name
    path.write_bytes(gzip.compress(content.encode("utf-16")))
    assert rows(path, encoding="utf-16") == [{"text": "x", "label": "a"}]
    assert suffix_of(path) == path.suffixes[0].lower()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gzip.compress(b"text,label\nx,a\n" * 99, mtime=0)[:-12], "ended before the end-of-stream"),
        (b"text,label\nx,a\n", "Not a gzipped file"),
        (gzip.compress(b"text,label\n", mtime=0)[:12] + b"\xff" * 30, "can't be read as csv"),
    ],
    ids=["cut off", "not compressed", "no stream"],
)
def test_damaged_compressed_files(data, message, tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(data)
    with pytest.raises(InputError, match=message) as error:
        read(tmp_path / "a.csv.gz", ReadOptions())
    assert "\n" not in str(error.value)


def test_a_small_file_that_unpacks_to_a_large_one(tmp_path, monkeypatch):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"\n" * 30_000_000, 9))
    assert path.stat().st_size < 50_000
    with pytest.raises(InputError, match="it unpacks to more than 200 times its size"):
        read(path, ReadOptions())
    monkeypatch.setattr(text_file, "_LARGEST", 1000)
    with pytest.raises(InputError, match="it unpacks to more than 1,000 bytes; keep fewer rows"):
        read(path, ReadOptions())


@pytest.fixture
def limit_of_python():
    """The limit of the module csv is one of the process."""
    before = csv.field_size_limit()
    yield
    csv.field_size_limit(before)


@pytest.mark.usefixtures("limit_of_python")
def test_lines_that_are_too_long(tmp_path, monkeypatch):
    for module in (text_file, csv_file):
        monkeypatch.setattr(module, "LONGEST_LINE", 1000)
    long = json.dumps({"text": "x" * 2000})
    with pytest.raises(InputError, match="line 2 has more than 1,000 characters"):
        read(write(tmp_path / "a.jsonl", f'{{"text": "y"}}\n{long}\n'), ReadOptions())
    with pytest.raises(InputError, match="line 2 has more than 1,000 characters"):
        read(write(tmp_path / "a.csv", f"text\n{'x' * 2000}\n"), ReadOptions())
    with pytest.raises(InputError, match="line .*: field larger than field limit"):
        read(write(tmp_path / "b.csv", 'text\n"' + "x\n" * 2000), ReadOptions())
