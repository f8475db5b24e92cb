"""Seconds for the singular values of an update B A, from its factors and from the product.

python analyses/performance/spectra.py
"""

import statistics
import time
import timeit
from functools import partial

import numpy as np

from peftlens.models.changes import product_values


def main() -> None:
    """Print a Markdown table; the product of 4,096² takes minutes."""
    rng = np.random.default_rng(0)
    print(
        "| size | r | factors, s | product, s | ratio | largest error |\n|---|---|---|---|---|---|"
    )
    for size in (576, 4096):
        for r in (8, 64):
            b, a = rng.normal(size=(size, r)), rng.normal(size=(r, size))
            times = timeit.repeat(partial(product_values, b, a), number=1, repeat=7)
            ours = statistics.median(times)
            started = time.perf_counter()
            dense = np.linalg.svd(b @ a, compute_uv=False)
            plain = time.perf_counter() - started
            error = np.abs(product_values(b, a) / dense[:r] - 1).max()
            cells = (str(size), str(r), f"{ours:.4f}", f"{plain:.1f}", f"{plain / ours:,.0f}")
            print("|", " | ".join(cells), f"| {error:.0e} |", flush=True)


if __name__ == "__main__":
    main()
