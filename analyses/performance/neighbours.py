"""Exact neighbours of 100 prompts in a vocabulary of 262,144 x 640: peftlens beside scikit-learn.

python analyses/performance/neighbours.py

Each in turn, five times, in one process; medians of seconds and their ratio.
"""

import statistics
import time

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors

from peftlens.neighbours import METRICS, nearest, nearest_to_steps

QUERIES, ROWS, WIDTH, K, REPEATS = 100, 262_144, 640, 5, 5


def seconds(action) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def main() -> None:
    """Print a Markdown table."""
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(ROWS, WIDTH, generator=generator)
    queries = torch.randn(QUERIES, WIDTH, generator=generator)
    density = torch.rand(ROWS, generator=generator)
    theirs = NearestNeighbors(n_neighbors=K, algorithm="brute", metric="cosine").fit(table.numpy())
    same = theirs.kneighbors(queries.numpy(), return_distance=False)
    assert (nearest(queries, table, K).ids == same).all()
    times: dict[str, list[float]] = {name: [] for name in (*METRICS, "scikit-learn, cosine")}
    for _ in range(REPEATS):
        for metric in METRICS:
            call = lambda m=metric: nearest(queries, table, K, m, density=density)  # noqa: E731
            times[metric].append(seconds(call))
        times["scikit-learn, cosine"].append(seconds(lambda: theirs.kneighbors(queries.numpy())))
    other = statistics.median(times["scikit-learn, cosine"])
    print(f"{torch.get_num_threads()} threads, float32, k = {K}, medians of {REPEATS}\n")
    print("| search | seconds | scikit-learn / this |\n|---|---|---|")
    for name, found in times.items():
        print(
            f"| {name} | {statistics.median(found):.2f} | {other / statistics.median(found):.1f} |"
        )
    small = torch.randn(49_152, 576, generator=generator)
    steps = torch.nn.functional.normalize(torch.randn(1000, 576, generator=generator))
    starts, lengths = small[:20], torch.full((20,), 3.0)
    took = [seconds(lambda: nearest_to_steps(starts, lengths, steps, small, 64)) for _ in range(3)]
    print(f"\n20 x 1,000 random steps in 49,152 x 576, 64 neighbours each: {np.median(took):.1f} s")


if __name__ == "__main__":
    main()
