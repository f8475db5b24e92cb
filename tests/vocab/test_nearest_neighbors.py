import numpy as np
import pytest
import torch

from peftlens.vocab.nearest_neighbors import METRICS, nearest, nearest_others, nearest_to_steps


def tensor(rows):
    return torch.tensor(rows, dtype=torch.float32)


def reference(queries, table, metric, density):
    """Similarity of all pairs in float64, straight from the definitions."""
    q, t = queries.double().numpy(), table.double().numpy()
    if metric == "centered":
        mean = t.mean(axis=0)
        q, t = q - mean, t - mean
    if metric == "dot":
        return q @ t.T
    if metric == "euclidean":
        return -np.sqrt(((q[:, None] - t) ** 2).sum(axis=2))
    lengths = np.linalg.norm(t, axis=1)
    cosine = (q / np.linalg.norm(q, axis=1)[:, None]) @ (
        t / np.where(lengths > 0, lengths, 1)[:, None]
    ).T
    if metric != "csls":
        return cosine
    own = -np.sort(-cosine, axis=1)[:, :10].mean(axis=1)
    return 2 * cosine - own[:, None] - density.double().numpy()


def some(rows, queries=9, width=16):
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(queries, width, generator=generator) + 0.3,
        torch.randn(rows, width, generator=generator) + 0.5,
        torch.rand(rows, generator=generator),
    )


def test_by_hand():
    found = nearest(tensor([[1, 0]]), tensor([[2, 0], [0, 1], [3, 3], [-1, 0]]), 3)
    assert found.ids.tolist() == [[0, 2, 1]]
    assert found.similarity[0] == pytest.approx([1, 0.5**0.5, 0])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("chunk", [130, 16_384])
def test_equals_brute_force_in_float64(metric, chunk):
    queries, table, density = some(1000)
    expected = reference(queries, table, metric, density)
    order = np.argsort(-expected, axis=1, kind="stable")[:, :5]
    found = nearest(queries, table, 5, metric, density=density, chunk=chunk)
    assert (found.ids == order).all()
    np.testing.assert_allclose(
        found.similarity, np.take_along_axis(expected, order, axis=1), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("copies", [2, 60])
def test_equal_rows_come_in_the_order_of_their_numbers(metric, copies):
    queries, table, density = some(300)
    best = int(nearest(queries[:1], table, 1, metric, density=density).ids[0, 0])
    numbers = sorted([*range(300 - copies + 1, 300), best])[:copies]
    for number in numbers:
        table[number], density[number] = table[best].clone(), density[best].clone()
    found = nearest(queries[:1], table, 2, metric, density=density, chunk=64)
    assert found.ids[0].tolist() == numbers[:2]


def test_a_row_of_zeros_is_at_right_angles_to_everything():
    found = nearest(tensor([[1, 0]]), tensor([[0, 0], [-1, 0]]), 2)
    assert found.ids.tolist() == [[0, 1]]
    assert found.similarity[0].tolist() == [0, -1]


@pytest.mark.parametrize("metric", METRICS)
def test_more_queries_than_one_and_a_table_of_one_row(metric):
    found = nearest(tensor([[1, 2], [3, 4]]), tensor([[1, 1]]), 1, metric, density=tensor([0]))
    assert found.ids.tolist() == [[0], [0]]


@pytest.mark.parametrize("query", [[0.0, 0.0], [float("nan"), 1.0], [float("inf"), 1.0]])
@pytest.mark.parametrize("metric", METRICS)
def test_a_query_without_direction_is_refused(query, metric):
    with pytest.raises(ValueError, match="query 1 is zero or not finite"):
        nearest(tensor([[1, 1], query]), torch.eye(2), 1, metric, density=torch.zeros(2))


@pytest.mark.parametrize(
    ("queries", "table", "k", "metric", "message"),
    [
        ([[1, 0]], [[1, 0]], 2, "cosine", "k=2 must lie between 1 and 1"),
        ([[1, 0]], [[1, 0]], 0, "cosine", "k=0 must lie between 1 and 1"),
        ([[1, 0, 0]], [[1, 0]], 1, "dot", "queries have width 3, the table 2"),
        ([[1, 0]], [[1, 0], [float("nan"), 0]], 1, "dot", "row 1 of the table is not finite"),
        ([[1, 0]], [[1, 0]], 1, "csls", "needs the density"),
        ([[1, 1]], [[1, 0], [1, 2]], 1, "centered", "mean of the table"),
    ],
)
def test_what_has_no_answer_is_refused(queries, table, k, metric, message):
    with pytest.raises(ValueError, match=message):
        nearest(tensor(queries), tensor(table), k, metric)


def test_neighbors_of_steps_are_those_of_the_sums():
    centers, table, _ = some(200, queries=3)
    directions = torch.nn.functional.normalize(some(200, queries=7)[0] - 0.3)
    lengths = tensor([0.0, 1.0, 5.0])
    found = nearest_to_steps(centers, lengths, directions, table, 4, chunk=3)
    assert found.shape == (3, 7, 4)
    for index, length in enumerate(lengths):
        expected = nearest(centers[index] + length * directions, table, 4).ids
        assert (found[index] == expected).all()


@pytest.mark.parametrize("tile", [7, 4096])
def test_the_others_of_every_row_are_those_of_a_search_for_each(tile):
    table = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    table[11], table[40:] = 0, table[3]  # a row of zeros; more equal rows than neighbors
    queries = torch.where(table.norm(dim=1, keepdim=True) > 0, table, torch.ones_like(table))
    expected = nearest(queries, table, 7)
    found = nearest_others(table, 6, "", tile=tile)
    for row in range(len(table)):
        kept = [at for at, one in enumerate(expected.ids[row]) if one != row][:6]
        assert found.ids[row].tolist() == expected.ids[row][kept].tolist()
        assert found.similarity[row].tolist() == expected.similarity[row][kept].tolist()


def test_equal_rows_beyond_the_shortlist_are_in_the_order_of_their_numbers():
    table = torch.randn(200, 4, generator=torch.Generator().manual_seed(1))
    table[::2] = table[0]  # a hundred
    found = nearest_others(table, 5, "", tile=64)
    assert found.ids[0].tolist() == [2, 4, 6, 8, 10]
    assert found.ids[198].tolist() == [0, 2, 4, 6, 8]
