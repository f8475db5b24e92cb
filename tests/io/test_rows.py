import datetime
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
