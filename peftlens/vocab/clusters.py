"""Clusters of a base model's vocabulary, by hierarchical clustering (Ward) of the embeddings.

The embeddings are centered and normalized, and only a token and its 15 nearest tokens may be
merged. It needs no seed, and of the algorithms compared in
reports/soft_prompts (such as k-means) its clusters are the most coherent in the middle of the
model, a space that the clustering does not use.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.metrics import silhouette_score

from peftlens.models.base_model import BaseModel
from peftlens.vocab.vocabulary import Graph, Vocabulary, graph, kept, states, vocabulary
from peftlens.vocab.ward import ward_labels

CLUSTERS = 1024  # clusters of a large vocabulary: about 50 tokens each for 49,152 tokens
_SMALLEST = 10  # average tokens per cluster in a small vocabulary
_SAMPLE = 4000  # tokens in the sample for the silhouette
WORDS = 3  # words in a cluster's name


@dataclass(frozen=True)
class Clusters:
    """A partition of the usable tokens.

    Attributes:
        label: cluster of each token, shape (V,); −1 for unusable tokens.
        names: name of each cluster: the most central words among the commoner half of its tokens.
        silhouette: mean silhouette over 4,000 tokens, by cosine, between −1 and 1 (Rousseeuw 1987).
        coherence: mean cosine of two tokens of one cluster in the middle of the model; 0 by chance.
    """

    label: NDArray[np.int64]
    names: tuple[str, ...]
    silhouette: float
    coherence: float


def clusters(base: BaseModel) -> Clusters:
    """Compute the clusters of a base model: 15 seconds for 49,152 tokens, then cached."""
    vocab = vocabulary(base)
    name = f"clusters-{len(vocab.usable)}"
    label = kept(base, name, lambda: {"label": _label(vocab, graph(base))})["label"]
    rows = centered(vocab)
    inside = label[vocab.usable]
    return Clusters(
        label,
        tuple(_names(label, rows, vocab)),
        silhouette(rows[vocab.usable], inside),
        coherence(states(base)[vocab.usable], inside),
    )


def centered(vocab: Vocabulary) -> NDArray[np.float32]:
    """Subtract the mean from the embeddings and normalize them to unit length, shape (V, d)."""
    rows = (vocab.table - vocab.table.mean(dim=0)).cpu().numpy()
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _label(vocab: Vocabulary, near: Graph) -> NDArray[np.int64]:
    usable = vocab.usable
    count = min(CLUSTERS, max(2, len(usable) // _SMALLEST))
    inside = ward_labels(centered(vocab)[usable], joined(usable, near), count)
    label = np.full(len(vocab.tokens), -1, np.int64)
    label[usable] = inside
    return label


def joined(usable: NDArray[np.int64], near: Graph) -> Any:
    """Build the symmetric adjacency matrix of the usable tokens in the graph, shape (U, U)."""
    place = np.full(len(near.ids), -1)
    place[usable] = np.arange(len(usable))
    ends = place[near.ids[usable]].ravel()
    starts = np.repeat(np.arange(len(usable)), near.ids.shape[1])
    inside = ends >= 0
    links = csr_matrix(
        (np.ones(inside.sum()), (starts[inside], ends[inside])), shape=(len(usable),) * 2
    )
    return links.maximum(links.T)


def _names(label: NDArray[np.int64], rows: NDArray[np.float32], vocab: Vocabulary):
    for cluster in range(label.max() + 1):
        members = np.flatnonzero(label == cluster)
        # byte-pair encoding numbers tokens in the order of merging, so by frequency
        common = members[: (len(members) + 1) // 2]
        words = [token for token in common if vocab.tokens[token].strip("␣").isalpha()]
        candidates = np.array(words or [*members])
        central = candidates[np.argsort(-rows[candidates] @ rows[members].sum(axis=0))]
        firsts = dict.fromkeys(vocab.family[central])
        spelled = {vocab.family[token]: vocab.tokens[token] for token in reversed(central)}
        yield ", ".join(spelled[family].strip("␣") for family in [*firsts][:WORDS])


def silhouette(rows: NDArray[np.float32], label: NDArray[np.int64]) -> float:
    """Compute the mean silhouette by cosine of a fixed sample; NaN if it has only one cluster.

    Args:
        rows: vectors, shape (n, d).
        label: cluster of each vector, shape (n,).
    """
    sample = np.random.default_rng(0).permutation(len(rows))[:_SAMPLE]
    seen = len(set(label[sample]))
    if not 1 < seen < len(sample):
        return float("nan")
    return float(silhouette_score(rows[sample], label[sample], metric="cosine"))


def coherence(rows: NDArray[np.float32], label: NDArray[np.int64]) -> float:
    """Compute the mean cosine of two members of one cluster, over clusters of at least two.

    Args:
        rows: vectors of any length, shape (n, D); those from the middle of the model have mean 0.
        label: cluster of each vector, shape (n,).
    """
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    members = csr_matrix((np.ones(len(label)), (label, np.arange(len(label)))))
    sums = members @ unit  # (clusters, D), float64
    n = np.bincount(label)
    several = n > 1
    pairs = (np.square(sums).sum(axis=1)[several] - n[several]) / (n[several] * (n[several] - 1))
    return float((pairs * n[several]).sum() / n[several].sum())
