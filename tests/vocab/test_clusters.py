import numpy as np
import planted
import pytest

from peftlens.models.base_model import load_base_model
from peftlens.vocab.clusters import clusters, coherence, silhouette
from peftlens.vocab.vocabulary import vocabulary


@pytest.fixture
def base(planted_base):
    return load_base_model(str(planted_base), device="cpu", dtype="float32")


def test_planted_clusters_are_found_and_named_by_their_words(base):
    found = clusters(base)
    for number in range(planted.GROUPS):
        first = 3 + number * planted.MEMBERS
        labels, counts = np.unique(found.label[first : first + planted.MEMBERS], return_counts=True)
        assert counts.max() >= planted.MEMBERS - 1
        words = found.names[labels[counts.argmax()]].split(", ")
        assert len(words) == 3
        assert {*words} <= {*planted.group(number)}


def test_every_usable_token_has_a_cluster_and_no_other(base):
    known, found = vocabulary(base), clusters(base)
    assert (found.label[known.usable] >= 0).all()
    assert (found.label[known.special] == -1).all()
    assert len(found.names) == found.label.max() + 1 == len(known.usable) // 10


def test_coherence_by_hand():
    rows = np.array([[2.0, 0.0], [0.0, 3.0], [1.0, 0.0], [5.0, 5.0]])
    # a pair at right angles, a pair at 45 degrees; a token alone does not count
    assert coherence(rows, np.array([0, 0, 1, 1])) == pytest.approx((0 + 0.5**0.5) / 2)
    assert coherence(rows, np.array([0, 0, 1, 2])) == pytest.approx(0)


def test_silhouette_of_one_cluster_is_missing():
    assert np.isnan(silhouette(np.eye(4), np.zeros(4, int)))
    assert (
        silhouette(np.array([[1, 0], [1, 0.01], [0, 1], [0.01, 1]]), np.array([0, 0, 1, 1])) > 0.99
    )
