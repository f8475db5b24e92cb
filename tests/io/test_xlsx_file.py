import datetime
import itertools
import random
import sys
import time
import zipfile

import pytest

from peftlens.errors import InputError
from peftlens.io import xlsx_file
from peftlens.io.data_files import read
from peftlens.io.records import ReadOptions

openpyxl = pytest.importorskip("openpyxl")
SHEET = "xl/worksheets/sheet1.xml"
XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
SPACE = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def rows(path, **options):
    return [dict(row) for row in read(path, ReadOptions(**options)).rows]


@pytest.fixture
def save(tmp_path):
    """Write a workbook of sheets, each a list of rows."""

    def call(**sheets):
        book = openpyxl.Workbook()
        book.remove(book.active)
        for title, cells in sheets.items():
            sheet = book.create_sheet(title)
            for row in cells:
                sheet.append(row)
        book.save(tmp_path / "a.xlsx")
        return tmp_path / "a.xlsx"

    return call


@pytest.fixture
def rewritten(save, tmp_path):
    """Write a workbook of two rows with other content of a part, or further parts."""

    def call(**parts):
        path, names = tmp_path / "b.xlsx", {"sheet": SHEET}
        parts = {names.get(name, name): text for name, text in parts.items()}
        with (
            zipfile.ZipFile(save(one=[["text", "label"], ["x", "a"]])) as old,
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new,
        ):
            for name in dict.fromkeys([*old.namelist(), *parts]):
                new.writestr(name, parts.get(name) or old.read(name))
        return path

    return call


def sheet_of(cells):
    return f"{XML}<worksheet {SPACE}><sheetData>{cells}</sheetData></worksheet>"


def test_values(save):
    date = datetime.datetime(2024, 5, 17, 0, 0)
    path = save(one=[[" text ", "n", "when", "ok"], ["Hello", 3, date, True], ["Bye", 2.5]])
    assert rows(path) == [
        {"text": "Hello", "n": 3, "when": date, "ok": True},
        {"text": "Bye", "n": 2.5, "when": None, "ok": None},
    ]
    assert rows(path, used=["n"]) == [{"n": 3}, {"n": 2.5}]


def test_empty_rows_are_none_and_cells_with_an_error_are_missing(save):
    path = save(one=[[None], [None, None], ["text", None, "label"], [], ["x", None, "#N/A"]])
    found = read(path, ReadOptions())
    assert list(found.columns) == ["text", "", "label"]
    assert [dict(row) for row in found.rows] == [{"text": "x", "": None, "label": None}]


def test_the_only_sheet_with_a_cell_is_read_or_the_named_one(save):
    cells = [["text", "label"], ["x", "a"]]
    assert rows(save(Notes=[], Data=cells)) == [{"text": "x", "label": "a"}]
    path = save(train=cells, test=[["text", "label"], ["y", "b"]])
    assert rows(path, sheet="test") == [{"text": "y", "label": "b"}]
    with pytest.raises(InputError, match="several sheets; write sheet = one of 'train', 'test'"):
        read(path, ReadOptions())
    with pytest.raises(InputError, match="it has no sheet 'dev'; its sheets: 'train', 'test'"):
        read(path, ReadOptions(sheet="dev"))
    with pytest.raises(InputError, match="its sheets are empty"):
        read(save(one=[], two=[[None]]), ReadOptions())


def test_hidden_sheets_are_read_only_by_name(save):
    path = save(data=[["text"], ["x"]], lists=[["text"], ["y"]])
    book = openpyxl.load_workbook(path)
    book["lists"].sheet_state = "hidden"
    book.save(path)
    assert rows(path) == [{"text": "x"}]
    assert rows(path, sheet="lists") == [{"text": "y"}]


def test_texts_that_cells_share(rewritten, save):
    """As Excel writes them: a cell has the number of its text."""
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    with zipfile.ZipFile(save(one=[["x"]])) as archive:
        types = archive.read("[Content_Types].xml").decode()
    override = f'<Override PartName="/xl/sharedStrings.xml" ContentType="{kind}"/></Types>'
    texts = ("text", "Hello", "Bye")
    strings = "".join(f"<si><t>{one}</t></si>" for one in texts)
    cells = "".join(
        f'<row r="{n}"><c r="A{n}" t="s"><v>{which}</v></c></row>'
        for n, which in enumerate((0, 1, 2, 1), 1)
    )
    path = rewritten(
        sheet=sheet_of(cells),
        **{
            "xl/sharedStrings.xml": f"{XML}<sst {SPACE}>{strings}</sst>",
            "[Content_Types].xml": types.replace("</Types>", override),
        },
    )
    assert rows(path) == [{"text": "Hello"}, {"text": "Bye"}, {"text": "Hello"}]


def test_a_formula_counts_by_its_stored_value(rewritten):
    cells = (
        '<row r="1"><c r="A1" t="inlineStr"><is><t>text</t></is></c>'
        '<c r="B1" t="inlineStr"><is><t>label</t></is></c></row>'
        '<row r="2"><c r="A2" t="str"><f>UPPER("x")</f><v>X</v></c>'
        '<c r="B2"><f>1+1</f><v>2</v></c></row>'
        '<row r="3"><c r="A3" t="str"><f>""</f><v></v></c><c r="B3"><v>3</v></c></row>'
    )
    assert rows(rewritten(sheet=sheet_of(cells))) == [
        {"text": "X", "label": 2}, {"text": None, "label": 3},
    ]  # fmt: skip


def test_a_formula_without_a_stored_value_is_refused_where_it_is_used(save):
    """As openpyxl writes formulas; it computes nothing."""
    path = save(one=[["text", "label", "n"], ["x", "a", 1], ["y", '=IF(C3>1,"a","b")', 2]])
    with pytest.raises(InputError, match="cell B3 is a formula without a stored value; open and"):
        read(path, ReadOptions())
    assert rows(path, used=["text", "n"]) == [{"text": "x", "n": 1}, {"text": "y", "n": 2}]


def test_text_that_begins_like_a_formula_is_text(rewritten):
    cells = (
        '<row r="1"><c r="A1" t="inlineStr"><is><t>text</t></is></c></row>'
        '<row r="2"><c r="A2" t="inlineStr"><is><t>=1+1</t></is></c></row>'
    )
    assert rows(rewritten(sheet=sheet_of(cells))) == [{"text": "=1+1"}]


def test_rows_that_are_wider_than_their_names_and_too_many(save):
    path = save(one=[["text"], ["x", "beyond"]])
    with pytest.raises(InputError, match="row 2 has more cells than the row of names"):
        read(path, ReadOptions())
    path = save(one=[["text"], *[[f"t{n}"] for n in range(20)]])
    with pytest.raises(InputError, match="the limit is 19; keep fewer rows, or raise max_rows"):
        read(path, ReadOptions(max_rows=19))
    assert len(rows(path, max_rows=20)) == 20


def test_a_first_row_of_data_is_told(save):
    path = save(one=[["I like it", 5], ["Me too", 5], ["Not me", 1]])
    with pytest.raises(InputError, match="its first line looks like data"):
        read(path, ReadOptions()).require_columns(["text"])


def test_the_extra_is_named(save, monkeypatch):
    path = save(one=[["text"], ["x"]])
    install = r"^workbooks need an extra: python -m pip install .*\[xlsx\]"
    with monkeypatch.context() as patch:
        patch.setattr(openpyxl, "DEFUSEDXML", False)  # which the extra has, too
        with pytest.raises(InputError, match=install):
            read(path, ReadOptions())
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(InputError, match=install):
        read(path, ReadOptions())


@pytest.mark.parametrize(
    ("size", "part"),
    [(101_000_000, SHEET), (21_000_000, "xl/styles.xml"), (21_000_000, "texts.bin")],
    ids=["rows", "styles", "elsewhere"],
)
def test_an_archive_that_unpacks_to_too_much_is_refused_unread(size, part, rewritten):
    path = rewritten(**{part: " " * size})
    assert path.stat().st_size < 500_000
    started = time.perf_counter()
    limit = "100,000,000" if part == SHEET else "20,000,000"
    with pytest.raises(InputError, match=rf"it unpacks to \d.* bytes, and the limit is {limit};"):
        read(path, ReadOptions())
    assert time.perf_counter() - started < 5


def test_an_archive_of_too_many_parts(rewritten, monkeypatch):
    monkeypatch.setattr(xlsx_file, "_MOST_PARTS", 20)
    with pytest.raises(InputError, match="parts, and the limit is 20"):
        read(rewritten(**{f"xl/{n}.xml": "<a/>" for n in range(20)}), ReadOptions())


ROW = '<row r="{}"><c r="{}" t="inlineStr"><is><t>text</t></is></c></row>'


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (ROW.format(1, "A1") + ROW.format(999_999_999_999, "A2"), "has more than 1,048,576 rows"),
        (ROW.format(1, "ZZZ1"), "or 16,384 columns"),
        (ROW.format(1, "ZZZZZZZ1"), "can't be read as xlsx"),
        (ROW.format("one", "A1"), "can't be read as xlsx"),
        ('<row r="1"><c r="A1" t="s"><v>99</v></c></row>', "sheet 'one' is damaged"),
        ("<row>", "it is damaged, or no workbook: mismatched tag"),
    ],
)
def test_sheets_of_hostile_size_and_form(cells, message, rewritten):
    with pytest.raises(InputError, match=message) as error:
        read(rewritten(sheet=sheet_of(cells)), ReadOptions())
    assert "\n" not in str(error.value)


def test_entities_are_refused(rewritten):
    """Ten of ten of ten: a document of a kilobyte that expands to gigabytes."""
    entities = '<!ENTITY a "xxxxxxxxxx">' + "".join(
        f'<!ENTITY {two} "{f"&{one};" * 10}">' for one, two in itertools.pairwise("abcdefghij")
    )
    text = sheet_of(ROW.format(1, "A1").replace("text", "&j;"))
    text = text.replace(XML, f"{XML}<!DOCTYPE x [{entities}]>")
    with pytest.raises(InputError, match="can't be read as xlsx: .*EntitiesForbidden"):
        read(rewritten(sheet=text), ReadOptions())


@pytest.mark.parametrize(
    "data", [b"", b"PK\x03\x04", b"text,label\nx,a\n", b"\xd0\xcf\x11\xe0" * 9]
)
def test_what_is_no_workbook(data, tmp_path):
    (tmp_path / "a.xlsx").write_bytes(data)
    with pytest.raises(InputError) as error:
        read(tmp_path / "a.xlsx", ReadOptions())
    assert "\n" not in str(error.value)


def test_an_archive_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as archive:
        archive.writestr("readme.txt", "text")
    with pytest.raises(InputError, match="it is damaged, or no workbook"):
        read(tmp_path / "a.xlsx", ReadOptions())


def test_mutated_workbooks_give_rows_or_one_line(save, tmp_path):
    """Parts of the archive, uncompressed so that a byte stays a byte, changed at random."""
    source, path = random.Random(0), tmp_path / "m.xlsx"
    with zipfile.ZipFile(
        save(one=[["text", "label"], *[[f"t{n}", n % 2] for n in range(5)]])
    ) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    refused = 0
    for _ in range(150):
        name = source.choice([*parts])
        data = bytearray(parts[name])
        for _ in range(source.randrange(1, 4)):
            place = source.randrange(len(data))
            data[place : place + source.randrange(3)] = source.choice(
                [b"", b"9", b"<", b'"', b"\xff"]
            )
        with zipfile.ZipFile(path, "w") as new:
            for one, text in (parts | {name: bytes(data)}).items():
                new.writestr(one, text)
        try:
            assert len(read(path, ReadOptions()).rows) <= 5
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
            assert len(str(error)) < 600
    assert 20 < refused < 150
