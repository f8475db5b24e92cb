import finished
import numpy as np
import pandas as pd
import pytest

from peftlens.results import table
from peftlens.results.stack import join
from peftlens.results.table import Column, Table

COLUMNS = tuple(Column(name, "what it is") for name in ("words", "near", "n", "note"))


@pytest.fixture
def runs(tmp_path):
    return [finished.run(tmp_path, finished.lora(rank, 0), rank) for rank in (1, 2)]


def joined(runs, *frames):
    tables = [Table("probe", 1, COLUMNS, (), frame) for frame in frames]
    labels = {run.id: f"lora rank={rank}" for rank, run in enumerate(runs, 1)}
    return join(dict(zip(runs, tables, strict=True)), labels)


def test_rows_stand_below_each_other_with_their_run(runs):
    frame = pd.DataFrame({"words": ["a"], "near": [0.5], "n": [1], "note": [None]})
    found = joined(runs, frame, frame.assign(n=None)).frame
    assert found["configuration"].tolist() == ["lora rank=1", "lora rank=2"]
    assert found["run"].tolist() == [run.id for run in runs]
    assert found["n"].dtype == "Int64"
    assert found["n"].isna().tolist() == [False, True]
    assert found["words"].dtype == "string"


def test_lists_stay_lists_beside_a_run_that_has_none(runs, tmp_path):
    some = pd.DataFrame({
        "words": [["a", "b"], None], "near": [[1 / 3, 0.5], np.array([0.25])], "n": [1, 2],
        "note": ["x", None],
    })  # fmt: skip
    none = table.not_applicable(COLUMNS, "because")[[column.name for column in COLUMNS]]
    found = joined(runs, none, some)
    table.write(found, tmp_path / "t.parquet")
    again = table.read(tmp_path / "t.parquet").frame
    assert again["words"].isna().tolist() == [True, False, True]
    assert again["words"][1].tolist() == ["a", "b"]
    assert [value.tolist() for value in again["near"][1:]] == [[1 / 3, 0.5], [0.25]]
    assert again["n"].isna().tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("one", "other", "dtype"),
    [
        ([None, None], ["other", None], "string"),
        ([float("nan")], [["a", "b"]], "object"),
        ([1, 2], [0.5, 1.5], "Float64"),
        ([0.5], [1], "Float64"),
        ([1, 2], [3, None], "Int64"),
        ([float("nan")], [1], "Int64"),
        ([True], [float("nan")], "boolean"),
        ([None], [None], "string"),
    ],
)
def test_a_column_has_the_type_of_the_values_that_are_there(runs, one, other, dtype):
    frames = [
        pd.DataFrame({"words": pd.Series(values)}).assign(near=0.5, n=1, note="x")
        for values in (one, other)
    ]
    for order in (frames, frames[::-1]):
        found = joined(runs, *order).frame["words"]
        assert found.dtype == dtype
        values = [value for frame in order for value in frame["words"]]
        assert found.isna().tolist() == [
            not isinstance(value, list) and bool(pd.isna(value)) for value in values
        ]
        assert [*found.dropna()] == [
            value for value in values if isinstance(value, list) or not pd.isna(value)
        ]


def test_twice_the_runs_convert_no_more_columns(tmp_path, monkeypatch):
    frame = pd.DataFrame({"words": ["a"], "near": [0.5], "n": [1], "note": [None]})
    made = [finished.run(tmp_path, finished.lora(rank, 0), rank) for rank in range(1, 9)]
    counts, astype = [], pd.DataFrame.astype
    monkeypatch.setattr(
        pd.DataFrame, "astype", lambda one, types: counts.append(len(one)) or astype(one, types)
    )
    for runs in (made[:4], made):
        counts.clear()
        frames = [frame.assign(n=None) if n % 2 else frame for n in range(len(runs))]
        found = joined(runs, *frames).frame
        assert len(counts) == 3  # the runs' names, and a part for each type of the column n
        assert found["run"].tolist() == [run.id for run in runs]
        assert found["n"].isna().tolist() == [False, True] * (len(runs) // 2)
