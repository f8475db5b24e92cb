import warnings

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import kneighbors_graph

from peftlens.vocab.ward import connected, ward_labels


def points(seed, n=400, d=12):
    """Random points around eight centers, far apart."""
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((8, d)) * 4
    return (centers[rng.integers(8, size=n)] + rng.standard_normal((n, d))).astype(np.float32)


def graph_of(rows, k):
    links = kneighbors_graph(rows, k)
    return csr_matrix(links.maximum(links.T))


@pytest.mark.parametrize(("seed", "k", "count"), [(0, 3, 20), (1, 2, 5), (2, 15, 40), (3, 2, 1)])
def test_the_partition_is_scikit_learns(seed, k, count):
    rows = points(seed)
    links = graph_of(rows, k)
    with warnings.catch_warnings():  # the components of the graph are joined there, too
        warnings.simplefilter("ignore", UserWarning)
        model = AgglomerativeClustering(count, connectivity=links, linkage="ward")
        expected = model.fit_predict(rows)
    found = ward_labels(rows, links, count)
    assert sorted({*found}) == [*range(count)]
    assert adjusted_rand_score(expected, found) == 1


def test_components_are_joined_at_their_nearest_points():
    rows = np.array([[0.0], [1.0], [3.0], [4.5], [9.0]], np.float32)
    links = csr_matrix(([1.0] * 4, ([0, 1, 2, 3], [1, 0, 3, 2])), shape=(5, 5))
    found = connected(rows, links)
    assert connected_components(found)[0] == 1
    added = {(int(i), int(j)) for i, j in zip(*(found - links).nonzero(), strict=True) if i < j}
    assert added == {(1, 2), (1, 4), (3, 4)}


def test_what_is_no_neighbor_is_not_merged_however_near():
    # 0 and 1 are nearest, but only 0-2 and 1-3 are linked
    rows = np.array([[0.0], [0.1], [1.0], [2.0]], np.float32)
    links = csr_matrix(([1.0] * 6, ([0, 2, 1, 3, 2, 3], [2, 0, 3, 1, 3, 2])), shape=(4, 4))
    first, second, third, fourth = ward_labels(rows, links, 3)
    assert first == third
    assert len({first, second, fourth}) == 3


def test_a_point_alone_stays_one_cluster_of_as_many_points():
    rows = points(0, n=10)
    assert ward_labels(rows, graph_of(rows, 2), 10).tolist() == [*range(10)]
