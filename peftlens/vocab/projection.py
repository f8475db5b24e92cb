"""Projection of a base model's vocabulary to two and three dimensions, by UMAP or PCA.

UMAP (McInnes, Healy & Melville 2018, arXiv:1802.03426) of the exact neighbors by cosine. Any
projection to the plane loses most neighbors, so the share retained (recall) is computed. Other
vectors are placed at the mean of their nearest tokens' points: UMAP's `transform` depends on the
other vectors of the call.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from peftlens.errors import InputError, suggestion
from peftlens.io.files import cache_dir
from peftlens.io.progress import say
from peftlens.models.base_model import BaseModel
from peftlens.vocab.nearest_neighbors import nearest
from peftlens.vocab.vocabulary import Graph, Vocabulary, graph, kept, vocabulary

Projection = Literal["umap", "pca"]
_SAMPLE = 1000  # tokens in the sample for the recall


@dataclass(frozen=True)
class VocabularyMap:
    """Two-dimensional points of all tokens.

    Attributes:
        points: coordinates, shape (V, 2).
        projection: name of the projection.
        recall: share of a token's nearest tokens that are among as many nearest on the map, mean
            over 1,000 tokens; 15 of each, or fewer in a small vocabulary.
        chance: recall of randomly permuted points.
        axes: orthonormal axes of the plane, shape (2, d), if the map is a plane in the space.
    """

    points: NDArray[np.float32]
    projection: str
    recall: float
    chance: float
    axes: NDArray[np.float64] | None = None


def vocabulary_map(base: BaseModel, projection: Projection = "umap") -> VocabularyMap:
    """Compute the map of a base model: about a minute for 49,152 tokens, then cached.

    Raises:
        InputError: no such projection.
    """
    if projection not in get_args(Projection):
        raise InputError(
            f"no projection named {projection!r}; {suggestion(projection, get_args(Projection))}"
        )
    near = graph(base)
    make = {"umap": lambda: _umap(vocabulary(base), near), "pca": lambda: _pca(vocabulary(base))}
    points = kept(base, f"map-{projection}", lambda: {"points": make[projection]()})["points"]
    mixed = points[np.random.default_rng(0).permutation(len(points))]
    return VocabularyMap(points, projection, recall(points, near.ids), recall(mixed, near.ids))


def vocabulary_space(base: BaseModel, projection: Projection = "umap") -> NDArray[np.float32]:
    """Compute the map in three dimensions, shape (V, 3): as long as the plane, then cached.

    Args:
        base: base model with the embeddings.
        projection: projection of the map, which `vocabulary_map` checks.
    """

    def make() -> dict[str, NDArray]:
        vocab = vocabulary(base)
        return {"points": _umap(vocab, graph(base), 3) if projection == "umap" else _pca(vocab, 3)}

    return kept(base, f"map-{projection}-3d", make)["points"]


def plane_map(base: BaseModel, one: torch.Tensor, other: torch.Tensor) -> VocabularyMap:
    """Project onto the plane spanned by two vectors, each of shape (d,): a linear map.

    The first axis points along the first vector.

    Raises:
        InputError: the vectors lie on one line.
    """
    first = one.double().cpu().numpy()
    first /= np.linalg.norm(first)
    rest = other.double().cpu().numpy()
    rest = rest - (rest @ first) * first
    if np.linalg.norm(rest) < 1e-6 * float(other.norm()):
        raise InputError("these two vectors lie on one line and span no plane; choose another one")
    axes = np.stack([first, rest / np.linalg.norm(rest)])
    points = (vocabulary(base).table.double().cpu().numpy() @ axes.T).astype(np.float32)
    near = graph(base).ids
    mixed = points[np.random.default_rng(0).permutation(len(points))]
    return VocabularyMap(
        points, "a plane in the space", recall(points, near), recall(mixed, near), axes
    )


def recall(points: NDArray[np.float32], near: NDArray[np.int64]) -> float:
    """Compute the share of tokens' neighbors that the map retains; see `VocabularyMap`."""
    size, k = near.shape
    sample = np.random.default_rng(0).choice(size, min(_SAMPLE, size), replace=False)
    nearest_points = NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(points[sample])[1]
    shares = [
        np.isin([one for one in row if one != token][:k], near[token]).sum() / k
        for token, row in zip(sample, nearest_points, strict=True)
    ]
    return float(np.mean(shares))


def place_by_neighbors(
    vectors: torch.Tensor, table: torch.Tensor, points: NDArray[np.float32], k: int = 15
) -> NDArray[np.float64]:
    """Place vectors on a map, at the weighted mean of their nearest tokens' points.

    A weight is the inverse fourth power of the distance 1 - cosine, so a vector equal to a token is
    placed at the token. Source: Shepard 1968, ACM National Conference, 517-524.

    Args:
        vectors: vectors to place, shape (n, d), float32.
        table: embeddings of the vocabulary, shape (V, d), float32.
        points: points of the vocabulary, shape (V, 2) or (V, 3).
        k: number of nearest tokens in the mean.

    Returns:
        Points of the vectors, shape (n, 2) or (n, 3).
    """
    near = nearest(vectors, table, min(k, len(table)))
    weights = np.maximum(1 - near.similarity, 1e-6) ** -4.0
    weights /= weights.sum(axis=1, keepdims=True)
    return np.einsum("nk,nkc->nc", weights, points[near.ids].astype(float))


def _pca(vocab: Vocabulary, dimensions: int = 2) -> NDArray[np.float32]:
    rows = vocab.table.cpu().numpy()
    count = min(dimensions, *rows.shape)
    points = PCA(count, random_state=0).fit_transform(rows).astype(np.float32)
    return np.ascontiguousarray(np.pad(points, ((0, 0), (0, dimensions - count))))


def _umap(vocab: Vocabulary, near: Graph, dimensions: int = 2) -> NDArray[np.float32]:
    size, k = near.ids.shape
    if size <= dimensions + 1:
        return _pca(vocab, dimensions)
    say(f"Drawing the map of {size:,} tokens in {dimensions} dimensions, once for this base model")
    # set before umap is loaded, so that its compiled code is cached in a writable folder
    os.environ.setdefault("NUMBA_CACHE_DIR", str(cache_dir("numba")))
    with warnings.catch_warnings():  # it warns that TensorFlow is not installed
        warnings.simplefilter("ignore", ImportWarning)
        import umap

    ids = np.column_stack([np.arange(size), near.ids]).astype(np.int32)
    distances = np.column_stack([np.zeros(size), np.maximum(0, 1 - near.cosine)])
    start = _pca(vocab, dimensions)
    start = 10 * start / np.abs(start).max()
    with warnings.catch_warnings(), _torch_threads_kept():  # it warns that `transform` won't work
        warnings.filterwarnings("ignore", "precomputed_knn", UserWarning)
        points = umap.UMAP(
            n_neighbors=k + 1,
            n_components=dimensions,
            metric="cosine",
            precomputed_knn=(ids, distances.astype(np.float32), None),
            init=start,
            random_state=0,
            n_jobs=1,
        ).fit_transform(vocab.table.cpu().numpy())
    return np.ascontiguousarray(np.asarray(points, np.float32))


@contextmanager
def _torch_threads_kept() -> Iterator[None]:
    """Restore torch's number of threads, which numba's OpenMP layer raises to that of all cores.

    Threads beyond a worker's share wait for each other, and their number affects rounding.
    """
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
