import datetime
import itertools
import json

import datasets
import numpy as np
import pandas as pd
import pytest

from peftlens.errors import InputError
from peftlens.io.rows import save_rows

ROWS = [{"text": "good", "label": 1}, {"text": "bád\u2028", "label": 0}]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PEFTLENS_CACHE", str(tmp_path))


def read(file):
    with file.expanduser().open() as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.parametrize("of", [list, iter, pd.DataFrame, datasets.Dataset.from_list])
def test_equal_rows_are_one_file_whatever_held_them(of):
    file = save_rows(of(ROWS))
    assert read(file) == ROWS
    assert file == save_rows(ROWS)
    assert file != save_rows(ROWS[::-1])


def test_values_of_numpy_and_pandas_are_plain():
    frame = pd.DataFrame(
        {"text": ["a", None], "n": pd.array([1, None], "Int64"), "x": [0.5, float("nan")],
         "day": pd.to_datetime(["2024-05-06", None]), "options": [np.array(["p", "q"]), ["r"]]}
    )  # fmt: skip
    assert read(save_rows(frame)) == [
        {"text": "a", "n": 1, "x": 0.5, "day": "2024-05-06 00:00:00", "options": ["p", "q"]},
        {"text": None, "n": None, "x": None, "day": None, "options": ["r"]},
    ]
    rows = [{"n": np.int64(3), "day": datetime.date(2024, 5, 6)}]
    assert read(save_rows(rows)) == [{"n": 3, "day": "2024-05-06"}]


def test_the_name_is_the_same_for_every_user(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    file = save_rows(ROWS)
    assert file.parts[:2] == ("~", tmp_path.name)
    assert read(file) == ROWS


@pytest.mark.parametrize("wrong", [["a", "b"], 3, {"text": ["a"]}])
def test_what_is_no_row_is_refused(wrong):
    with pytest.raises(InputError, match="is no row; give a data frame"):
        save_rows(wrong)


def test_names_stand_for_the_ids_of_a_datasets_classes():
    label = datasets.ClassLabel(names=["World", "Sports"])
    features = datasets.Features({"text": datasets.Value("string"), "label": label})
    data = datasets.Dataset.from_dict(
        {"text": ["a", "b", "c"], "label": [1, 0, -1]}, features=features
    )
    assert [row["label"] for row in read(save_rows(data))] == ["Sports", "World", None]


def test_columns_of_one_name_are_refused():
    frame = pd.DataFrame([["a", "b", 1]], columns=["text", "text", "label"])
    with pytest.raises(InputError, match="several columns named 'text'; rename one"):
        save_rows(frame)
    with pytest.raises(InputError, match="several columns named '0'"):
        save_rows(pd.DataFrame([[1, 2]], columns=[0, "0"]))
    with pytest.raises(InputError, match="two columns of one name: 0, '0'"):
        save_rows([{0: "a", "0": "b"}])


def test_bytes_are_decoded_and_objects_are_no_text():
    rows = [{"text": b"caf\xc3\xa9", "raw": b"\xff", "of": object(), "set": {1}}]
    for given in (rows, pd.DataFrame(rows)):
        assert read(save_rows(given)) == [
            {"text": "café", "raw": {"bytes": "ff"}, "of": {"type": "builtins.object"},
             "set": {"type": "builtins.set"}}
        ]  # fmt: skip


def test_lone_surrogates_are_kept():
    assert read(save_rows([{"text": "\ud800"}])) == [{"text": "\ud800"}]


def test_rows_that_json_can_not_hold_are_refused():
    circle = {}
    circle["text"] = circle
    deep = []
    for _ in range(100_000):
        deep = [deep]
    for row in (circle, {"text": deep}, {"text": {(1, 2): "x"}}):
        with pytest.raises(InputError, match="a row can't be written as JSON: "):
            save_rows([row])


def test_rows_without_an_end_are_refused(monkeypatch):
    monkeypatch.setattr("peftlens.io.rows.MOST_ROWS", 1000)
    with pytest.raises(InputError, match="there are more than 1,000 rows; keep fewer"):
        save_rows({"text": str(n)} for n in itertools.count())
