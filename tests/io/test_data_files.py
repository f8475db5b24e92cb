import pytest

from peftlens.errors import InputError
from peftlens.io.data_files import READERS, read
from peftlens.io.records import ReadOptions


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.csv", {"separator": ";;"}, "must be one character"),
        ("a.csv", {"separator": '"'}, "must be one character"),
        ("a.jsonl", {"separator": ","}, "is for .csv, .tsv, .txt, not for"),
        ("a.xlsx", {"separator": ","}, "is for .csv, .tsv, .txt, not for"),
        ("a.csv", {"sheet": "one"}, "sheet='one' is for .xlsx, not for"),
        ("a.csv", {"encoding": "rot13"}, "encoding='rot13' is not known"),
        ("a.csv", {"encoding": "no\x00"}, "is not known"),
        ("a.csv", {"max_rows": 0}, "max_rows=0 must be at least 1"),
        ("a.parquet.gz", {}, "decompress '.*'; only .csv, .tsv, .txt, .json, .jsonl may end in"),
        ("a.xls", {}, "must end in .csv, .*, .xlsx; save the workbook as .xlsx"),
        ("a.gz", {}, "must end in .csv"),
        ("a.doc", {}, "must end in .csv, .*, .xlsx$"),
    ],
)
def test_names_and_options_that_do_not_fit(name, options, message, tmp_path):
    (tmp_path / name).write_text("text,label\nx,a\n")
    with pytest.raises(InputError, match=message):
        read(tmp_path / name, ReadOptions(**options))


@pytest.mark.parametrize("suffix", READERS)
def test_files_that_are_not_there_or_empty(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    with pytest.raises(InputError, match="no file '.*'; give a path relative to"):
        read(path, ReadOptions())
    path.touch()
    with pytest.raises(InputError, match="is empty"):
        read(path, ReadOptions())


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(InputError, match="no file"):
        read(tmp_path / "a.csv", ReadOptions())


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"PK\x03\x04", "a .xlsx file or another archive"),
        (b"\x1f\x8b\x08", "a compressed .gz file"),
        (b"PAR1", "a .parquet file"),
        (b"\xd0\xcf\x11\xe0", "an old .xls file or a workbook with a password; save"),
    ],
)
def test_a_file_with_the_name_of_another_format(start, kind, tmp_path):
    for suffix in {".csv", ".tsv", ".jsonl", ".xlsx", ".parquet"} - {kind.split()[1]}:
        path = tmp_path / f"a{suffix}"
        path.write_bytes(start + b"\x00" * 100)
        with pytest.raises(InputError, match=f"can't be read as .*: its content is that of {kind}"):
            read(path, ReadOptions())
