"""Nearest tokens of every token by several metrics, as pairs of tokens with their cosine.

The metrics' neighbors overlap, and all five similarities follow from the cosine of a pair, the norm
of each token, its product with the mean embedding and its local density. So each pair is kept once,
for both tokens: half the space of five lists of neighbors.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from peftlens.io.progress import track
from peftlens.models.base_model import BaseModel
from peftlens.vocab.nearest_neighbors import METRICS, Metric
from peftlens.vocab.vocabulary import graph, kept, vocabulary

_CHUNK = 65_536  # pairs whose cosines are computed at once


@dataclass(frozen=True)
class TokenNeighbors:
    """Pairs of tokens that contain the k nearest other tokens of every token by every metric.

    Attributes:
        k: number of neighbors by each metric.
        metrics: metrics for which the pairs are complete.
        low: lower token id of each pair, ascending, shape (E,).
        high: higher token id of each pair, ascending for equal `low`, shape (E,).
        cosine: cosine of each pair, shape (E,); 0 for a row of zeros.
        norm: length of each token's embedding, shape (V,).
        mean_product: product of each token's embedding with the mean embedding, shape (V,).
        density: mean cosine of each token to its ten nearest, shape (V,).
        mean_square: squared length of the mean embedding.
    """

    k: int
    metrics: tuple[Metric, ...]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    cosine: NDArray[np.float32]
    norm: NDArray[np.float32]
    mean_product: NDArray[np.float32]
    density: NDArray[np.float32]
    mean_square: float


def token_neighbors(base: BaseModel, k: int, metrics: Sequence[Metric] = METRICS) -> TokenNeighbors:
    """Find the neighbors of all tokens: a minute or two for 49,152 on two cores, then cached.

    Args:
        base: base model with the embeddings.
        k: number of neighbors by each metric; fewer in a smaller vocabulary.
        metrics: metrics whose neighbors are found.
    """
    table, density = vocabulary(base).table, graph(base).density
    k, metrics = min(k, len(table) - 1), tuple(metrics)

    def make() -> dict[str, NDArray]:
        low, high = pairs(table, torch.from_numpy(density).to(table.device), k, metrics)
        cosine = _cosines(table, low, high)
        return {"low": low.astype(np.int32), "high": high.astype(np.int32), "cosine": cosine}

    found = kept(base, f"neighbors-{k}-{'-'.join(metrics)}", make)
    mean = table.double().mean(dim=0)
    return TokenNeighbors(
        k=k,
        metrics=metrics,
        low=found["low"].astype(np.int64),
        high=found["high"].astype(np.int64),
        cosine=found["cosine"],
        norm=table.norm(dim=1).cpu().numpy(),
        mean_product=(table.double() @ mean).float().cpu().numpy(),
        density=density,
        mean_square=float(mean.square().sum()),
    )


@torch.inference_mode()
def pairs(
    table: torch.Tensor,
    density: torch.Tensor,
    k: int,
    metrics: Sequence[Metric],
    *,
    tile: int = 2048,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the pairs of each row with its k nearest others, once each: lower and higher rows (E,).

    Each product of two tiles serves both and all metrics; tiles fit in the processor's cache. In
    float32: rows closer than its rounding may be exchanged.

    Args:
        table: rows, shape (V, d), float32.
        density: mean cosine of each row to its nearest ones, shape (V,), for csls.
        k: number of neighbors, between 1 and V − 1.
        metrics: metrics whose neighbors are found.
        tile: number of rows whose products with as many are computed at once.
    """
    size, device = len(table), table.device
    score = _scores(table, density)
    best = {one: torch.full((size, k), -torch.inf, device=device) for one in metrics}
    ids = {one: torch.zeros((size, k), dtype=torch.long, device=device) for one in metrics}
    buffer = table.new_empty(tile * tile)

    def add(rows: slice, columns: slice, products: torch.Tensor) -> None:
        found = buffer[: products.numel()].view(products.shape)
        for metric in metrics:
            score[metric](products, rows, columns, found)
            if rows == columns:
                found.fill_diagonal_(-torch.inf)
            top = found.topk(min(k, found.shape[1]), dim=1)
            both = torch.cat([best[metric][rows], top.values], dim=1)
            numbers = torch.cat([ids[metric][rows], top.indices + columns.start], dim=1)
            best[metric][rows], places = both.topk(k, dim=1)
            ids[metric][rows] = numbers.gather(1, places)

    starts = range(0, size, tile)
    tiles = [slice(start, min(start + tile, size)) for start in starts]
    for one in track(tiles, "Neighbors of every token by each metric, once per base"):
        for other in tiles[one.start // tile :]:
            products = table[one] @ table[other].T  # (tile, tile)
            add(one, other, products)
            if one != other:
                add(other, one, products.T.contiguous())
    return _unique([*ids.values()], size)


_Score = Callable[[torch.Tensor, slice, slice, torch.Tensor], torch.Tensor]


def _scores(table: torch.Tensor, density: torch.Tensor) -> dict[Metric, _Score]:
    """Functions of products, rows, columns and where to write scores that rank columns alike."""
    norms = table.norm(dim=1)
    inverse = torch.where(norms > 0, 1 / norms, 0)
    mean = table.double().mean(dim=0)
    along = (table.double() @ mean).float()  # (V,)
    square = float(mean.square().sum())
    around = 1 / (table.double() - mean).norm(dim=1).float().clamp(min=1e-20)
    half = norms.square() / 2

    def scaled(products: torch.Tensor, w: slice, out: torch.Tensor) -> torch.Tensor:
        return torch.mul(products, inverse[w], out=out)

    return {
        "cosine": lambda p, _, w, out: scaled(p, w, out),
        "dot": lambda p, _, __, out: out.copy_(p),
        "euclidean": lambda p, _, w, out: torch.sub(p, half[w], out=out),
        "centered": lambda p, q, w, out: (
            torch.sub(p, along[w], out=out).sub_((along[q] - square)[:, None]).mul_(around[w])
        ),
        "csls": lambda p, q, w, out: (
            scaled(p, w, out).mul_(inverse[q][:, None]).sub_(density[w] / 2)
        ),
    }


def _unique(ids: Sequence[torch.Tensor], size: int) -> tuple[NDArray, NDArray]:
    rows = np.arange(size)[:, None]
    keys = []
    for found in ids:
        other = found.cpu().numpy()  # (V, k)
        keys.append((np.minimum(rows, other) * size + np.maximum(rows, other)).ravel())
    unique = np.unique(np.concatenate(keys))
    return unique // size, unique % size


@torch.inference_mode()
def _cosines(table: torch.Tensor, low: NDArray, high: NDArray) -> NDArray[np.float32]:
    unit = torch.nn.functional.normalize(table, eps=1e-20)
    parts = [
        (unit[low[at : at + _CHUNK]] * unit[high[at : at + _CHUNK]]).sum(dim=1)
        for at in range(0, len(low), _CHUNK)
    ]
    return torch.cat(parts).cpu().numpy()
