import numpy as np
import pytest

from peftlens.linalg import nearest_by_cosine


def test_by_hand():
    table = np.array([[2, 0], [0, 1], [3, 3], [-1, 0]], np.float32)
    found = nearest_by_cosine(np.array([[1, 0]], np.float32), table, 3)
    assert found.ids.tolist() == [[0, 2, 1]]
    assert found.similarity[0] == pytest.approx([1, 0.5**0.5, 0])


def test_ties_go_to_the_lower_row_in_whatever_chunk():
    table = np.ones((7, 3), np.float32)
    found = nearest_by_cosine(np.ones((1, 3), np.float32), table, 4, chunk=2)
    assert found.ids.tolist() == [[0, 1, 2, 3]]


def test_equals_brute_force_in_float64():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(1000, 16)).astype(np.float32)
    queries = rng.normal(size=(9, 16)).astype(np.float32)
    unit = [
        a.astype(float) / np.linalg.norm(a.astype(float), axis=1)[:, None] for a in (queries, table)
    ]
    expected = np.argsort(-(unit[0] @ unit[1].T), axis=1, kind="stable")[:, :5]
    assert (nearest_by_cosine(queries, table, 5, chunk=130).ids == expected).all()


def test_zero_rows_of_the_table_are_near_nothing():
    table = np.array([[0, 0], [1, 0]], np.float32)
    found = nearest_by_cosine(np.array([[1, 0]], np.float32), table, 2)
    assert found.similarity[0] == pytest.approx([1, 0])


@pytest.mark.parametrize("bad", [[0, 0], [np.nan, 1]])
def test_query_without_a_direction(bad):
    queries = np.array([[1, 0], bad], np.float32)
    with pytest.raises(ValueError, match="query 1 is zero or not finite"):
        nearest_by_cosine(queries, np.eye(2, dtype=np.float32), 1)


@pytest.mark.parametrize("k", [0, 3])
def test_k_out_of_range(k):
    with pytest.raises(ValueError, match="must lie between 1 and 2"):
        nearest_by_cosine(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32), k)


def test_another_width():
    with pytest.raises(ValueError, match="width 3, the table 2"):
        nearest_by_cosine(np.ones((1, 3), np.float32), np.eye(2, dtype=np.float32), 1)
