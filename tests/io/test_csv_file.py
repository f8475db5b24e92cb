import pytest

from peftlens.errors import InputError
from peftlens.io.csv_file import written_separator
from peftlens.io.data_files import read
from peftlens.io.records import ReadOptions

TEXT = "text,label\nHello; world,a\nBye,b\n"
EXPECTED = [{"text": "Hello; world", "label": "a"}, {"text": "Bye", "label": "b"}]


def write(path, content, encoding="utf-8"):
    path.write_bytes(content.encode(encoding))
    return path


def rows(path, **options):
    return [dict(row) for row in read(path, ReadOptions(**options)).rows]


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("a.csv", TEXT, {}),
        ("a.CSV", TEXT.replace("\n", "\r\n"), {}),
        ("a.csv", TEXT.replace("\n", "\r"), {}),
        ("a.csv", "\ufeff" + TEXT, {}),
        ("a.csv", "sep=,\n" + TEXT, {}),
        ("a.txt", "sep=,\n" + TEXT, {}),
        ("a.csv", TEXT.replace("text,label", "text , label"), {}),
        ("a.csv", TEXT.replace(",", "|"), {"separator": "|"}),
        ("a.txt", TEXT.replace(",", "|"), {"separator": "|"}),
        ("a.csv", 'text;label\n"Hello; world";a\nBye;b\n', {"separator": ";"}),
        ("a.tsv", TEXT.replace(",", "\t"), {}),
        ("a.tsv", TEXT, {"separator": ","}),
        ("a.csv", TEXT.replace(",", "\t"), {"separator": r"\t"}),
        ("a.txt", TEXT.replace(",", "\t"), {"separator": "\t"}),
    ],
)
def test_formats(name, content, options, tmp_path):
    assert rows(write(tmp_path / name, content), **options) == EXPECTED


def test_a_tab_may_be_written_as_two_characters():
    assert written_separator(r"\t") == written_separator("\t") == "\t"
    assert written_separator(None) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text\tlabel\nx\ta\n", r'its cells look separated by tabs: write separator = "\\t"'),
        ("text|label\nx|a\n", r'look separated by bars: write separator = "\|"'),
        ("just words\n", r'its cells need a separator: write it, such as separator = "\\t"'),
    ],
)
def test_a_txt_file_needs_a_separator(content, message, tmp_path):
    with pytest.raises(InputError, match=message):
        read(write(tmp_path / "a.txt", content), ReadOptions())


def test_quotes_may_be_text(tmp_path):
    path = write(tmp_path / "a.tsv", 'text\tlabel\n"Hello\ta\nHe said "ok"\tb\n')
    with pytest.raises(InputError, match="line .*: .*; if double quotes are part of the texts"):
        read(path, ReadOptions())
    assert [row["text"] for row in rows(path, quotes=False)] == ['"Hello', 'He said "ok"']


def test_rows_that_are_short_lack_cells_and_blank_lines_are_none(tmp_path):
    path = write(tmp_path / "a.csv", "\n\ntext,label\n\nx\n")
    assert rows(path) == [{"text": "x", "label": None}]


def test_cells_beyond_the_header_name_the_line_and_the_separator(tmp_path):
    path = write(tmp_path / "a.csv", "a;b\n1,2;3\n")
    with pytest.raises(InputError, match='line 2 has more cells.*write separator = ";"'):
        read(path, ReadOptions())


def test_a_header_of_one_column_hints_at_the_separator(tmp_path):
    path = write(tmp_path / "a.csv", "text;label\nx;a\n")
    with pytest.raises(InputError, match="its columns: text;label; its cells look separated by se"):
        read(path, ReadOptions()).require_columns(["text"])


def test_a_first_line_of_data_is_told(tmp_path):
    path = write(tmp_path / "a.csv", "I like it,good\nMe too,good\nNot me,bad\n")
    with pytest.raises(InputError, match="its first line looks like data, not like names"):
        read(path, ReadOptions()).require_columns(["text"])


def test_a_text_may_hold_zero_characters_and_formulas(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\nx\x00y,=1+1\n")
    assert rows(path) == [{"text": "x\x00y", "label": "=1+1"}]
