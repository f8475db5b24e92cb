import pandas as pd
import pyarrow.parquet as pq
import pytest

from peftlens.errors import InputError
from peftlens.results import table
from peftlens.results.table import Chart, Column, Table

COLUMNS = (Column("name", "what it is"), Column("score", "how good", "1", "higher"))
CHARTS = (Chart("points", x="name", y="score", title="Scores"),)
FRAME = pd.DataFrame({"name": ["a", "b"], "score": [0.5, None]})


def test_a_written_table_reads_back_with_its_description(tmp_path):
    written = Table("probe", 3, COLUMNS, CHARTS, FRAME)
    table.write(written, tmp_path / "t.parquet")
    found = table.read(tmp_path / "t.parquet")
    assert (found.name, found.version, found.columns, found.charts) == ("probe", 3, COLUMNS, CHARTS)
    pd.testing.assert_frame_equal(found.frame, FRAME)


def test_lists_keep_their_types_and_every_digit(tmp_path):
    columns = tuple(Column(name, "a list") for name in ("words", "ids", "near"))
    rows = [{"words": ["a", "b"], "ids": [7, 8], "near": [1 / 3, 2 / 3]}, dict.fromkeys(
        ("words", "ids", "near"))]  # fmt: skip
    table.write(Table("probe", 1, columns, (), pd.DataFrame(rows)), tmp_path / "t.parquet")
    schema = pq.read_schema(tmp_path / "t.parquet")
    kinds = [str(schema.field(name).type.value_type) for name in ("words", "ids", "near")]
    assert kinds == ["string", "int64", "double"]
    found = table.read(tmp_path / "t.parquet").frame
    assert found["near"][0].tolist() == [1 / 3, 2 / 3]
    assert found["words"][0].tolist() == ["a", "b"]
    assert found["ids"].isna().tolist() == [False, True]
    assert "0.3333 0.6667" in table.html_of(found)


def test_other_readers_see_a_plain_parquet_file(tmp_path):
    table.write(Table("probe", 1, COLUMNS, CHARTS, FRAME), tmp_path / "t.parquet")
    assert pq.read_table(tmp_path / "t.parquet").to_pylist()[0] == {"name": "a", "score": 0.5}


def test_undeclared_columns_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has columns .*'extra'.*declared"):
        table.write(Table("t", 1, COLUMNS, (), FRAME.assign(extra=1)), tmp_path / "t.parquet")


@pytest.mark.parametrize("content", [b"", b"PAR1 but not really"])
def test_damaged_file(tmp_path, content):
    (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(InputError, match="is damaged; delete it"):
        table.read(tmp_path / "t.parquet")


def test_somebody_elses_parquet(tmp_path):
    FRAME.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(InputError, match="is not a table of peftlens"):
        table.read(tmp_path / "t.parquet")


def test_not_applicable_has_no_numbers():
    (row,) = table.not_applicable(COLUMNS, "because").to_dict("records")
    assert row == {"name": None, "score": None, "status": "not_applicable", "reason": "because"}


def test_a_failure_is_neither_measured_nor_inapplicable():
    frame = table.failed((Column("x", "x"),), "out of luck")
    assert frame.to_dict("records") == [{"x": None, "status": "failed", "reason": "out of luck"}]
    assert table.measured(frame).empty


def test_a_table_is_shown_in_a_notebook_as_it_is():
    frame = pd.DataFrame({"name": ["<b>", "x"], "score": [1 / 3, None], "empty": None,
                          "status": ["measured", "not_applicable"], "reason": None})  # fmt: skip
    shown = Table("p", 1, (), (), frame)._repr_html_()
    assert "&lt;b&gt;" in shown
    assert "0.3333" in shown
    assert "empty" not in shown
    assert "not_applicable" not in shown
    long = Table("p", 1, (), (), pd.DataFrame({"n": range(100)}))._repr_html_()
    assert "40 more rows" in long
