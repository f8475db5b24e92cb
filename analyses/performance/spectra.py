"""Seconds for the singular values of updates B A, from their factors and from the products.

python analyses/performance/spectra.py

Single matrices, and all those of an adapter of a model of 7 billion parameters (32 layers of
width 4,096): of rank 16 on query and value, and of rank 64 on all linear layers. The dense time of
a whole adapter is that of one product for each matrix, measured at 4,096 x 4,096 once; products
with the feed-forward layers are larger still.
"""

import statistics
import timeit
from functools import partial

import numpy as np
from measurements import seconds, write

from peftlens.adapters.delta_factors import product_values

WIDTH, INNER, LAYERS = 4096, 11_008, 32
ATTENTION = [(WIDTH, WIDTH)] * 4
FEED_FORWARD = [(INNER, WIDTH)] * 2 + [(WIDTH, INNER)]
Factors = tuple[np.ndarray, np.ndarray]


def factors(rng: np.random.Generator, d_out: int, d_in: int, r: int) -> Factors:
    """B (d_out, r) and A (r, d_in)."""
    return rng.normal(size=(d_out, r)), rng.normal(size=(r, d_in))


def values(updates: list[Factors]) -> None:
    """Of each update."""
    for b, a in updates:
        product_values(b, a)


def main() -> None:
    """Write reports/performance/spectra.csv; a product of 4,096 x 4,096 takes 14 s."""
    rng, rows, dense_seconds = np.random.default_rng(0), [], 0.0
    for size in (576, WIDTH):
        for r in (8, 64):
            b, a = factors(rng, size, size, r)
            times = timeit.repeat(partial(product_values, b, a), number=1, repeat=7)
            found: list[np.ndarray] = []
            dense_seconds = seconds(
                lambda b=b, a=a, found=found: found.append(np.linalg.svd(b @ a, compute_uv=False))
            )
            error = np.abs(product_values(b, a) / found[0][:r] - 1).max()
            rows.append(
                row(f"{size} x {size}", r, statistics.median(times), dense_seconds)
                | {"largest_relative_error": f"{error:.0e}"}
            )
    for name, shapes, r in (
        ("query and value of 7B", ATTENTION[:2] * LAYERS, 16),
        ("all linear layers of 7B", (ATTENTION + FEED_FORWARD) * LAYERS, 64),
    ):
        updates = [factors(rng, *shape, r) for shape in shapes]
        took = statistics.median(timeit.repeat(partial(values, updates), number=1, repeat=3))
        rows.append(row(name, r, took, dense_seconds, len(updates)))
    write(__file__, rows)


def row(name: str, r: int, own: float, dense: float, matrices: int = 1) -> dict:
    """A line of the table; `dense` is of one matrix."""
    return {
        "what": name,
        "rank": r,
        "matrices": matrices,
        "seconds": float(f"{own:.2g}"),
        "dense_seconds": float(f"{dense * matrices:.3g}"),
        "ratio": round(dense * matrices / own),
        "largest_relative_error": "",
    }


if __name__ == "__main__":
    main()
