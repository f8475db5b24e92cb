"""Exact nearest neighbors of vectors among the rows of a table, by five metrics, in chunks.

A float32 product selects a shortlist, whose similarities are recomputed in float64. So the order is
that of float64, and equal rows are in the order of their numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from peftlens.io.progress import track

Metric = Literal["cosine", "centered", "dot", "euclidean", "csls"]
METRICS: tuple[Metric, ...] = get_args(Metric)
DENSITY = 10  # number of neighbors in the local density of CSLS
_MARGIN = 32  # rows of the shortlist beyond k; models have that many equal, untrained rows
_FEW = 32  # shortlists whose rows fit in the processor's cache together
_ROUNDING = 4e-6  # relative error of float32 sums of a few thousand terms


@dataclass(frozen=True)
class Neighbors:
    """Nearest rows of a table for each query, nearest first.

    Attributes:
        ids: row numbers, shape (queries, k).
        similarity: similarity by the chosen metric, shape (queries, k); higher is nearer, so a
            Euclidean distance is negative.
    """

    ids: NDArray[np.int64]
    similarity: NDArray[np.float64]


def nearest(  # noqa: PLR0913  # two are options of two metrics
    queries: torch.Tensor,
    table: torch.Tensor,
    k: int,
    metric: Metric = "cosine",
    *,
    density: torch.Tensor | None = None,
    chunk: int = 16_384,
) -> Neighbors:
    """Find the exact k nearest rows in the whole table; ties go to the lower row number.

    cosine (Lester et al. 2021, arXiv:2104.08691, section 7); centered: cosine after subtracting the
    table's mean from both (Mu & Viswanath 2018, arXiv:1702.01417, section 2); dot; euclidean, as a
    negative distance; csls: 2 cos(q, w) − r(q) − r(w), r the mean cosine to the 10 nearest rows
    (Conneau et al. 2018, arXiv:1710.04087, section 2.3).

    Needs chunk x queries of memory in addition to the table. A row of zeros has cosine 0 with all.

    Args:
        queries: query vectors, shape (q, d), float32.
        table: rows to search, shape (V, d), float32.
        k: number of neighbors, between 1 and V.
        metric: measure of similarity.
        density: r(w) of each row, shape (V,), for csls.
        chunk: number of table rows per step.

    Raises:
        ValueError: k out of range, another width, or a vector that is zero or not finite.
    """
    _check(queries, table, k)
    measure = _Measure.of(queries, table, metric, density, chunk)
    length = min(k + _MARGIN, len(table))
    scores = queries.new_empty(len(queries), 0)
    ids = torch.empty(len(queries), 0, dtype=torch.long, device=queries.device)
    for start in range(0, len(table), chunk):
        rough = measure.rough(table[start : start + chunk], slice(start, start + chunk))
        best = rough.topk(min(length, rough.shape[1]), dim=1)
        scores = torch.cat([scores, best.values], dim=1)
        ids = torch.cat([ids, best.indices + start], dim=1)
        scores, places = scores.topk(min(length, scores.shape[1]), dim=1)
        ids = ids.gather(1, places)
    return _refined(measure, table, scores, ids, k, chunk)


def nearest_others(table: torch.Tensor, k: int, description: str, *, tile: int = 4096) -> Neighbors:
    """Find the exact k nearest other rows of every row, by cosine; ties go to the lower number.

    Each product of two rows serves both, so this takes half the time of `nearest`. Needs tile x
    tile of memory in addition to the table. A row of zeros has the neighbors of a row of ones.

    Args:
        table: rows, shape (V, d), float32.
        k: number of neighbors, between 1 and V − 1.
        description: what is shown with the progress.
        tile: number of rows whose products with as many are computed at once.
    """
    zero = table.norm(dim=1, keepdim=True) == 0
    scores, shortlists = _shortlists(table, min(k + 1 + _MARGIN, len(table)), description, tile)
    ids, similarity = np.empty((len(table), k), np.int64), np.empty((len(table), k))
    for start in range(0, len(table), tile):
        part = slice(start, start + tile)
        queries = torch.where(zero[part], torch.ones_like(table[part]), table[part])
        origin = torch.zeros_like(table[0], dtype=torch.double)
        near = _refined(_cosine(queries, origin), table, scores[part], shortlists[part], k + 1)
        for row in torch.nonzero(zero[part, 0]).flatten().tolist():
            one = nearest(queries[row : row + 1], table, k + 1)
            near.ids[row], near.similarity[row] = one.ids[0], one.similarity[0]
        is_self = near.ids == np.arange(start, start + len(near.ids))[:, None]
        # drop the row itself; the last neighbor if it is not among more than k equal rows
        drop = np.where(is_self.any(1), is_self.argmax(1), k)
        others = np.arange(k + 1) != drop[:, None]
        ids[part] = near.ids[others].reshape(-1, k)
        similarity[part] = near.similarity[others].reshape(-1, k)
    return Neighbors(ids, similarity)


def _shortlists(
    table: torch.Tensor, length: int, description: str, tile: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the highest cosines of each row, itself included, and their rows: (V, length) each."""
    unit = torch.nn.functional.normalize(table, eps=1e-10)
    scores = table.new_full((len(table), length), -2.0)  # below any cosine
    ids = torch.zeros(scores.shape, dtype=torch.long, device=table.device)

    def add(rows: slice, products: torch.Tensor, first: int) -> None:
        best = products.topk(min(length, products.shape[1]), dim=1)
        both = torch.cat([scores[rows], best.values], dim=1)
        numbers = torch.cat([ids[rows], best.indices + first], dim=1)
        scores[rows], places = both.topk(length, dim=1)
        ids[rows] = numbers.gather(1, places)

    starts = range(0, len(table), tile)
    pairs = [(one, other) for one in starts for other in starts if one <= other]
    for one, other in track(pairs, description):
        rows, columns = slice(one, one + tile), slice(other, other + tile)
        products = unit[rows] @ unit[columns].T  # (tile, tile)
        add(rows, products, other)
        if one < other:
            add(columns, products.T.contiguous(), one)
    return scores, ids


def _refined(  # noqa: PLR0913  # a shortlist, and what it was made from
    measure: "_Measure",
    table: torch.Tensor,
    scores: torch.Tensor,
    ids: torch.Tensor,
    k: int,
    chunk: int = 16_384,
) -> Neighbors:
    """Order shortlists in float64, and search the whole table where one may lack rows.

    Args:
        measure: metric of q queries.
        table: rows, shape (V, d).
        scores: scores of the shortlists in float32, highest first, shape (q, length).
        ids: row numbers of the shortlists, shape (q, length).
        k: number of neighbors.
        chunk: number of table rows per step.
    """
    exact = [
        measure.exact(part, table[ids[part]].double(), ids[part])
        for part in (slice(at, at + _FEW) for at in range(0, len(ids), _FEW))
    ]
    result = _order(torch.cat(exact), ids, k)
    if ids.shape[1] < len(table):
        # if there are more ties than the shortlist holds, the lower row numbers may be missing
        slack = _ROUNDING * scores.abs().amax(dim=1)
        for row in torch.nonzero(scores[:, -1] > scores[:, k - 1] - slack).flatten().tolist():
            one = _whole_row(measure, row, table, k, chunk)
            result.ids[row], result.similarity[row] = one.ids[0], one.similarity[0]
    return result


def _check(queries: torch.Tensor, table: torch.Tensor, k: int) -> None:
    if not 1 <= k <= len(table):
        raise ValueError(f"k={k} must lie between 1 and {len(table)}, the number of rows")
    if queries.shape[1] != table.shape[1]:
        raise ValueError(f"queries have width {queries.shape[1]}, the table {table.shape[1]}")
    norms = queries.norm(dim=1)
    if bad := torch.nonzero(~(norms.isfinite() & (norms > 0))).flatten().tolist():
        raise ValueError(f"query {bad[0]} is zero or not finite; it has no neighbors")
    if bad := torch.nonzero(~table.sum(dim=1).isfinite()).flatten().tolist():
        raise ValueError(f"row {bad[0]} of the table is not finite")


def _order(similarity: torch.Tensor, ids: torch.Tensor, k: int) -> Neighbors:
    values, numbers = similarity.cpu().numpy(), ids.cpu().numpy()
    best = np.lexsort((numbers, -values), axis=1)[:, :k]
    return Neighbors(
        np.take_along_axis(numbers, best, axis=1), np.take_along_axis(values, best, axis=1)
    )


def _whole_row(measure: "_Measure", row: int, table: torch.Tensor, k: int, chunk: int) -> Neighbors:
    parts = []
    for start in range(0, len(table), chunk):
        rows = table[None, start : start + chunk].double()
        ids = torch.arange(start, start + rows.shape[1], device=table.device)[None]
        parts.append(measure.exact(slice(row, row + 1), rows, ids))
    everything = torch.cat(parts, dim=1)
    return _order(everything, torch.arange(len(table), device=table.device)[None], k)


@dataclass(frozen=True)
class _Measure:
    """One metric for a set of queries: a fast score in float32, and the similarity in float64.

    Attributes:
        rough: function of table rows; scores (q, rows) with the same ranking as the similarity.
        exact: function of a slice of the queries, rows (q, m, d) and row numbers (q, m);
            similarity (q, m).
    """

    rough: Callable[[torch.Tensor, slice], torch.Tensor]
    exact: Callable[[slice, torch.Tensor, torch.Tensor], torch.Tensor]

    @classmethod
    def of(
        cls,
        queries: torch.Tensor,
        table: torch.Tensor,
        metric: Metric,
        density: torch.Tensor | None,
        chunk: int,
    ) -> "_Measure":
        if metric == "dot":
            return cls(
                lambda rows, _: queries @ rows.T,
                lambda part, rows, _: _dot(queries[part].double(), rows),
            )
        if metric == "euclidean":
            return cls(
                lambda rows, _: torch.addmm(rows.norm(dim=1).square() / -2, queries, rows.T),
                lambda part, rows, _: -(queries[part].double()[:, None] - rows).norm(dim=2),
            )
        if metric == "centered":
            return _cosine(queries, _mean(table))
        cosine = _cosine(queries, torch.zeros_like(table[0], dtype=torch.double))
        if metric == "cosine":
            return cosine
        if density is None:
            raise ValueError("metric csls needs the density of every row")
        similarity = nearest(queries, table, min(DENSITY, len(table)), chunk=chunk).similarity
        around = torch.from_numpy(similarity).mean(dim=1).to(queries.device)[:, None]
        return cls(
            lambda rows, numbers: cosine.rough(rows, numbers).sub_(density[numbers], alpha=0.5),
            lambda part, rows, ids: (
                2 * cosine.exact(part, rows, ids) - around[part] - density[ids].double()
            ),
        )


def _mean(table: torch.Tensor) -> torch.Tensor:
    """Compute the mean row in float64, in chunks that fit in the processor's cache."""
    sums = (rows.double().sum(dim=0) for rows in table.split(1024))
    return sum(sums, table.new_zeros(table.shape[1], dtype=torch.double)) / len(table)


def _cosine(queries: torch.Tensor, origin: torch.Tensor) -> _Measure:
    """Build the cosine relative to an origin; the rough score shifts products, not rows."""
    exact = queries.double() - origin
    if not (exact.norm(dim=1) > 0).all():
        raise ValueError(
            "a query equals the mean of the table; relative to it, it has no direction"
        )
    unit = exact / exact.norm(dim=1, keepdim=True)
    shift, single, center = (unit @ origin).float()[:, None], unit.float(), origin.float()
    square = center.square().sum()

    def rough(rows: torch.Tensor, _: slice) -> torch.Tensor:
        squares = rows.norm(dim=1).square()
        if square > 0:
            squares += square - rows @ (2 * center)
        return (single @ rows.T).sub_(shift).mul_(squares.clamp(min=1e-20).rsqrt())

    def precise(part: slice, rows: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        shifted = rows - origin if origin.any() else rows
        lengths = shifted.norm(dim=2)
        return _dot(unit[part], shifted) / torch.where(lengths > 0, lengths, 1)

    return _Measure(rough, precise)


def _dot(queries: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return torch.einsum("qd,qmd->qm", queries, rows)


@torch.inference_mode()
def nearest_to_steps(  # noqa: PLR0913  # the last is an option
    centers: torch.Tensor,
    lengths: torch.Tensor,
    directions: torch.Tensor,
    table: torch.Tensor,
    k: int,
    *,
    chunk: int = 64,
) -> NDArray[np.int64]:
    """Find the k rows with the highest cosine to center + length · direction, for every pair.

    All centers share the directions, whose products with the table are computed once: a thousand
    steps from each of twenty centers take about as long as from one. In float32.

    Args:
        centers: starting points, shape (n, d).
        lengths: lengths of the steps, shape (n,).
        directions: unit vectors, shape (B, d).
        table: rows to search, shape (V, d).
        k: number of neighbors, between 1 and V.
        chunk: number of directions per step, which needs chunk x V of memory.

    Returns:
        Row numbers, shape (n, B, k), nearest first.
    """
    norms = table.norm(dim=1, keepdim=True)
    unit = table / torch.where(norms > 0, norms, 1)
    start = centers @ unit.T  # (n, V)
    ids = np.empty((len(centers), len(directions), k), np.int64)
    for low in range(0, len(directions), chunk):
        along = directions[low : low + chunk] @ unit.T  # (chunk, V)
        scores = torch.empty_like(along)
        for index, length in enumerate(lengths.tolist()):
            torch.add(start[index], along, alpha=length, out=scores)
            ids[index, low : low + chunk] = scores.topk(k, dim=1).indices.cpu().numpy()
    return ids
