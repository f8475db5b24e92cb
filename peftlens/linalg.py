"""Matrix measures on NumPy arrays; nothing here knows about models."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Neighbours:
    """The rows of a table nearest to each query, nearest first.

    Attributes:
        ids: row numbers, shape (queries, k).
        similarity: cosine, shape (queries, k), between -1 and 1.
    """

    ids: NDArray[np.int64]
    similarity: NDArray[np.float32]


def nearest_by_cosine(
    queries: NDArray[np.float32], table: NDArray[np.float32], k: int, chunk: int = 16_384
) -> Neighbours:
    """Exact k nearest rows by cosine, over the whole table; ties go to the lower row number.

    Memory is chunk x queries beside the table. A table row of zeros has cosine 0 with everything.

    Args:
        queries: shape (q, d), float32.
        table: shape (V, d), float32.
        k: neighbours wanted, between 1 and V.
        chunk: rows of the table at a time.

    Raises:
        ValueError: k out of range, another width, or a query that is zero or not finite.
    """
    if not 1 <= k <= len(table):
        raise ValueError(f"k={k} must lie between 1 and {len(table)}, the number of rows")
    if queries.shape[1] != table.shape[1]:
        raise ValueError(f"queries have width {queries.shape[1]}, the table {table.shape[1]}")
    norms = np.linalg.norm(queries, axis=1)
    if not (np.isfinite(norms) & (norms > 0)).all():
        bad = int(np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))[0])
        raise ValueError(f"query {bad} is zero or not finite; cosine is undefined for it")
    unit = queries / norms[:, None]
    ids = np.empty((len(queries), 0), np.int64)
    similarity = np.empty((len(queries), 0), np.float32)
    for start in range(0, len(table), chunk):
        rows = table[start : start + chunk]
        lengths = np.linalg.norm(rows, axis=1)
        found = unit @ (rows / np.where(lengths > 0, lengths, 1)[:, None]).T
        numbers = np.broadcast_to(np.arange(start, start + len(rows)), found.shape)
        ids = np.concatenate([ids, numbers], axis=1)
        similarity = np.concatenate([similarity, found], axis=1)
        best = np.lexsort((ids, -similarity), axis=1)[:, :k]
        ids = np.take_along_axis(ids, best, axis=1)
        similarity = np.take_along_axis(similarity, best, axis=1)
    return Neighbours(ids, similarity)
