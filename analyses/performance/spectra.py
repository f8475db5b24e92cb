"""Seconds for the singular values of an update B A, from its factors and from the product.

python analyses/performance/spectra.py
"""

import statistics
import time

import numpy as np

from peftlens.linalg import product_svd


def seconds(action) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def main() -> None:
    """Print a Markdown table; the product of 4,096² takes minutes, and is decomposed once."""
    rng = np.random.default_rng(0)
    print(
        "| size | r | factors, s | product, s | ratio | largest error |\n|---|---|---|---|---|---|"
    )
    for size in (576, 4096):
        for r in (8, 64):
            b, a = rng.normal(size=(size, r)), rng.normal(size=(r, size))
            ours = statistics.median(seconds(lambda: product_svd(b, a)) for _ in range(7))
            started = time.perf_counter()
            dense = np.linalg.svd(b @ a, compute_uv=False)
            plain = time.perf_counter() - started
            error = np.abs(product_svd(b, a).s / dense[:r] - 1).max()
            print(f"| {size} | {r} | {ours:.4f} | {plain:.1f} | {plain / ours:,.0f} | {error:.0e} |",
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
