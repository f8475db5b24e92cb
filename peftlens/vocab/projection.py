"""A map of a base's vocabulary: each token at a place in the plane, near its nearest tokens.

UMAP (McInnes, Healy & Melville 2018, arXiv:1802.03426) of the exact neighbors by cosine. Any plane
loses most of them, so how many it keeps is counted. Places of other vectors are means of their
nearest tokens' places: UMAP's own `transform` depends on what else is placed with them.
"""

import os
import warnings
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from peftlens.errors import InputError
from peftlens.io.files import cache_dir
from peftlens.io.progress import say
from peftlens.models.base_model import BaseModel
from peftlens.vocab.nearest_neighbors import nearest
from peftlens.vocab.vocabulary import Graph, Vocabulary, graph, kept, vocabulary

Projection = Literal["umap", "pca"]
_SAMPLE = 1000  # tokens whose neighbors are counted


@dataclass(frozen=True)
class VocabularyMap:
    """Places of the tokens.

    Attributes:
        points: shape (V, 2).
        projection: how they were found.
        recall: share of a token's nearest tokens that are among as many nearest on the map, mean
            over 1,000 tokens; 15 of each, or fewer where the vocabulary is small.
        chance: the same of places given out at random.
        axes: the plane's directions in the space, shape (2, d), where the map is a plane in it.
    """

    points: NDArray[np.float32]
    projection: str
    recall: float
    chance: float
    axes: NDArray[np.float64] | None = None


def vocabulary_map(base: BaseModel, projection: Projection = "umap") -> VocabularyMap:
    """The map of a base: about a minute for 49,152 tokens, then from the cache.

    Raises:
        InputError: no such projection.
    """
    if projection not in get_args(Projection):
        raise InputError(
            f"projection {projection!r} must be one of {', '.join(get_args(Projection))}"
        )
    near = graph(base)
    make = {"umap": lambda: _umap(vocabulary(base), near), "pca": lambda: _pca(vocabulary(base))}
    points = kept(base, f"map-{projection}", lambda: {"points": make[projection]()})["points"]
    mixed = points[np.random.default_rng(0).permutation(len(points))]
    return VocabularyMap(points, projection, recall(points, near.ids), recall(mixed, near.ids))


def plane_map(base: BaseModel, one: torch.Tensor, other: torch.Tensor) -> VocabularyMap:
    """The plane through zero that holds two vectors, each shape (d,): nothing in it is bent.

    The first axis points along the first vector.

    Raises:
        InputError: they lie on one line.
    """
    first = one.double().cpu().numpy()
    first /= np.linalg.norm(first)
    rest = other.double().cpu().numpy()
    rest = rest - (rest @ first) * first
    if np.linalg.norm(rest) < 1e-6 * float(other.norm()):
        raise InputError("these two vectors lie on one line, which is no plane; choose another one")
    axes = np.stack([first, rest / np.linalg.norm(rest)])
    points = (vocabulary(base).table.double().cpu().numpy() @ axes.T).astype(np.float32)
    near = graph(base).ids
    mixed = points[np.random.default_rng(0).permutation(len(points))]
    return VocabularyMap(
        points, "a plane in the space", recall(points, near), recall(mixed, near), axes
    )


def recall(points: NDArray[np.float32], near: NDArray[np.int64]) -> float:
    """Share of tokens' neighbors that the map keeps; see `VocabularyMap`."""
    size, k = near.shape
    sample = np.random.default_rng(0).choice(size, min(_SAMPLE, size), replace=False)
    found = NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(points[sample])[1]
    shares = [
        np.isin([one for one in row if one != own][:k], near[own]).sum() / k
        for own, row in zip(sample, found, strict=True)
    ]
    return float(np.mean(shares))


def place_by_neighbors(
    vectors: torch.Tensor, table: torch.Tensor, points: NDArray[np.float32], k: int = 15
) -> NDArray[np.float64]:
    """Where vectors lie on a map: the mean place of their nearest tokens, weighted by nearness.

    A weight is the fourth power of one over the distance, 1 - cosine; so a vector that is a token
    lies where the token does. Source: Shepard 1968, ACM National Conference, 517-524.

    Args:
        vectors: shape (n, d), float32.
        table: the vocabulary, shape (V, d), float32.
        points: its places, shape (V, 2).
        k: tokens that count.

    Returns:
        Shape (n, 2).
    """
    found = nearest(vectors, table, min(k, len(table)))
    weights = np.maximum(1 - found.similarity, 1e-6) ** -4.0
    weights /= weights.sum(axis=1, keepdims=True)
    return np.einsum("nk,nkc->nc", weights, points[found.ids].astype(float))


def _pca(known: Vocabulary) -> NDArray[np.float32]:
    rows = known.table.cpu().numpy()
    return np.ascontiguousarray(PCA(2, random_state=0).fit_transform(rows).astype(np.float32))


def _umap(known: Vocabulary, near: Graph) -> NDArray[np.float32]:
    size, k = near.ids.shape
    if size <= 3:
        return _pca(known)
    say(f"Drawing the map of {size:,} tokens, once for this base")
    # before umap is loaded: what it compiles is kept where it can be written
    os.environ.setdefault("NUMBA_CACHE_DIR", str(cache_dir("numba")))
    with warnings.catch_warnings():  # it tells everybody that TensorFlow is not installed
        warnings.simplefilter("ignore", ImportWarning)
        import umap

    ids = np.column_stack([np.arange(size), near.ids]).astype(np.int32)
    distances = np.column_stack([np.zeros(size), np.maximum(0, 1 - near.cosine)])
    start = _pca(known)
    start = 10 * start / np.abs(start).max()
    with warnings.catch_warnings():  # that other vectors can't be placed later by its own means
        warnings.filterwarnings("ignore", "precomputed_knn", UserWarning)
        found = umap.UMAP(
            n_neighbors=k + 1,
            metric="cosine",
            precomputed_knn=(ids, distances.astype(np.float32), None),
            init=start,
            random_state=0,
            n_jobs=1,
        ).fit_transform(known.table.cpu().numpy())
    return np.ascontiguousarray(np.asarray(found, np.float32))
