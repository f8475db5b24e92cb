import pandas as pd
import pytest

from peftlens.results import table
from peftlens.results.table_cache import ProbeSpec, TableCache

LABELS = {"a": "lora rank=1", "b": "lora rank=2"}
EACH = ProbeSpec(name="each", each_run=True, version=1, config={})
OVER = ProbeSpec(name="over", each_run=False, version=1, config={})


@pytest.fixture
def write(tmp_path):
    def write(name, labels=LABELS, version=1, *, of_configurations=False):
        columns = tuple(table.Column(one, one) for one in ("run", "configuration"))
        frame = pd.DataFrame(list(labels.items()), columns=["run", "configuration"])
        known = table.Table(
            name,
            version,
            columns,
            (),
            frame,
            {},
            tuple(labels),
            configurations=tuple(labels.values()) if of_configurations else None,
        )
        table.write(known, tmp_path / f"{name}.parquet")

    return write


@pytest.fixture
def tables(tmp_path):
    return TableCache(tmp_path, [OVER, EACH])


def stale(tables, labels=LABELS):
    return [name for name, _ in tables.stale(labels)]


def test_what_is_not_there_is_stale(tables):
    assert tables.measured() == {}
    assert stale(tables) == ["each", "over"]


def test_what_is_there_is_kept(tables, write):
    write("each")
    write("over")
    assert tables.measured() == {"each": {"a", "b"}}
    assert stale(tables) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"version": 2},
        {"labels": {"a": "lora rank=1"}},  # a run has been added since
        {"labels": {"b": "lora rank=2", "a": "lora rank=1"}},  # the order is another
        {"labels": LABELS | {"a": "lora rank=1 steps=3"}},  # the name is another
    ],
)
def test_what_has_changed_is_stale_and_what_is_made_of_it(tables, write, changed):
    write("each", **changed)
    write("over")
    assert stale(tables) == ["each", "over"]


def test_a_failed_run_is_measured_again(tables, tmp_path):
    columns = tuple(table.Column(one, one) for one in ("run", "configuration", "status", "reason"))
    rows = [("a", LABELS["a"], "measured", None), ("b", LABELS["b"], "failed", "out of luck")]
    frame = pd.DataFrame(rows, columns=[column.name for column in columns])
    table.write(table.Table("each", 1, columns, (), frame, {}), tmp_path / "each.parquet")
    assert table.failures(frame) == {"b": "out of luck"}
    assert tables.measured() == {"each": {"a"}}
    assert stale(tables) == ["each", "over"]


def test_a_table_over_others_alone(tables, write):
    write("each")
    assert stale(tables) == ["over"]
    write("over", version=2)
    assert stale(tables) == ["over"]


@pytest.mark.parametrize(
    ("labels", "again"),
    [
        (LABELS | {"c": "lora rank=2"}, ["each"]),  # one more seed
        (LABELS | {"c": "lora rank=4"}, ["each", "over"]),  # one more configuration
        ({"a": "lora rank=1"}, ["each", "over"]),  # one fewer
        (LABELS | {"b": "lora rank=3"}, ["each", "over"]),  # another name
        ({"a": "lora rank=1", "c": "lora rank=2"}, ["each", "over"]),  # a run is gone
    ],
)
def test_a_table_of_configurations_stays_when_more_runs_of_them_join(tables, write, labels, again):
    write("each")
    write("over", of_configurations=True)
    assert stale(tables, labels) == again
    write("over")
    assert stale(tables, labels) == ["each", "over"]


def test_a_damaged_table_is_made_anew(tables, write, tmp_path):
    write("each")
    (tmp_path / "each.parquet").write_bytes(b"PAR1")
    assert tables.measured() == {}
    assert stale(tables) == ["each", "over"]


def test_dropping(tables, write, tmp_path):
    for name in ("each", "over", "other"):
        write(name)
    tables.drop_others()
    tables.drop(["over", "missing"])
    assert [file.stem for file in tmp_path.iterdir()] == ["each"]


def test_the_table_of_configurations_belongs_to_every_study(tmp_path):
    tables = TableCache(tmp_path / "tables", [])
    for name in ("configurations", "latency"):
        tables.write(table.Table(name, 1, (table.Column("x", "x"),), (), pd.DataFrame({"x": [1]})))
    tables.drop_others()
    assert [file.name for file in tables.folder.iterdir()] == ["configurations.parquet"]
