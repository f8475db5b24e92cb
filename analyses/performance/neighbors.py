"""Exact neighbors of 100 prompts in a vocabulary of 262,144 x 640: peftlens and libraries.

python -m pip install faiss-cpu && python analyses/performance/neighbors.py

Each in turn, five times, in one process; medians of seconds and their ratio. Without faiss its row
is left out. What a library has to prepare is not counted.
"""

import statistics
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import numpy as np
import torch
from measurements import in_turn, seconds, write
from sklearn.neighbors import NearestNeighbors

from peftlens.vocab.nearest_neighbors import METRICS, nearest, nearest_to_steps

QUERIES, ROWS, WIDTH, K, REPEATS = 100, 262_144, 640, 5, 5


def main() -> None:
    """Write reports/performance/neighbors.csv."""
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(ROWS, WIDTH, generator=generator)
    queries = torch.randn(QUERIES, WIDTH, generator=generator)
    density = torch.rand(ROWS, generator=generator)
    theirs = NearestNeighbors(n_neighbors=K, algorithm="brute", metric="cosine").fit(table.numpy())
    same = theirs.kneighbors(queries.numpy(), return_distance=False)
    assert (nearest(queries, table, K).ids == same).all()
    ways = {
        metric: partial(seconds, partial(nearest, queries, table, K, metric, density=density))
        for metric in METRICS
    }
    ways["scikit-learn, cosine"] = lambda: seconds(lambda: theirs.kneighbors(queries.numpy()))
    with suppress(ImportError):
        ways["faiss, dot"] = _faiss(table.numpy(), queries.numpy())
    took = {way: statistics.median(times) for way, times in in_turn(ways, REPEATS).items()}
    small = torch.randn(49_152, 576, generator=generator)
    steps = torch.nn.functional.normalize(torch.randn(1000, 576, generator=generator))
    starts, lengths = small[:20], torch.full((20,), 3.0)
    null = partial(nearest_to_steps, starts, lengths, steps, small, 64)
    rows = [
        {"search": way, "seconds": round(own, 2), "rows": ROWS, "width": WIDTH, "queries": QUERIES,
         "scikit_learn_ratio": round(took["scikit-learn, cosine"] / own, 2)}
        for way, own in took.items()
    ]  # fmt: skip
    rows.append(
        {"search": "20 x 1,000 random steps, 64 neighbors", "rows": len(small), "width": 576,
         "queries": 20_000, "scikit_learn_ratio": "",
         "seconds": round(statistics.median(seconds(null) for _ in range(3)), 2)}
    )  # fmt: skip
    write(__file__, rows)


def _faiss(table: np.ndarray, queries: np.ndarray) -> Callable[[], float]:
    import faiss

    index = faiss.IndexFlatIP(WIDTH)
    index.add(table)
    return lambda: seconds(lambda: index.search(queries, K))


if __name__ == "__main__":
    main()
