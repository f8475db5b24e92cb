import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from peftlens.results.rows_digest import rows_sha256

FRAME = pd.DataFrame(
    {
        "n": pd.Series([1, None, 3], dtype="Int64"),
        "x": [0.1, float("nan"), 2.0],
        "word": ["a", None, "é"],
        "near": [["a", "b"], None, []],
        "ids": [[1.0, 2.0], np.array([3.0]), None],
        "yes": [True, None, False],
        "none": [None] * 3,
    }
)


def digest(frame):
    return rows_sha256(pa.Table.from_pandas(frame, preserve_index=False))


def test_a_file_has_the_digest_of_its_rows():
    for options in ({}, {"compression": "none", "row_group_size": 1}, {"use_dictionary": False}):
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pandas(FRAME, preserve_index=False), buffer, **options)
        assert rows_sha256(pq.read_table(buffer)) == digest(FRAME)


def test_missing_values_hide_whatever_lies_below_them():
    below = pa.array([1, 2, 3], mask=np.array([False, True, False]))
    assert rows_sha256(pa.table({"n": below})) == rows_sha256(pa.table({"n": [1, None, 3]}))


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("n", [1, None, 4]), ("n", [None, 1, 3]), ("x", [0.1, None, 2.0 + 1e-15]),
        ("word", ["a", "", "é"]), ("word", ["", "a", "é"]), ("near", [["ab"], None, []]),
        ("near", [["a"], ["b"], []]), ("ids", [[1.0], [2.0, 3.0], None]), ("yes", [True] * 3),
        ("none", ["", None, None]),
    ],
)  # fmt: skip
def test_any_other_value_gives_another_digest(column, values):
    changed = FRAME.assign(**{column: pd.Series(values, dtype=FRAME[column].dtype)})
    assert digest(changed) != digest(FRAME)


def test_names_and_order_of_columns_and_rows_count():
    digests = {
        digest(one)
        for one in (FRAME, FRAME.rename(columns={"x": "y"}), FRAME[FRAME.columns[::-1]],
                    FRAME.iloc[::-1], FRAME.head(2), FRAME.head(0))
    }  # fmt: skip
    assert len(digests) == 6
