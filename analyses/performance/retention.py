"""Seconds to score one checkpoint on the default suites, and what sharing a prompt saves.

python analyses/performance/retention.py

Each suite in turn, three times, in one process; medians of seconds. For questions, the same rows
scored one answer after another, beside answers behind one reading of their prompt.
"""

import statistics
import time

import numpy as np

from peftlens.encoding import Encoder
from peftlens.models.base import open_base
from peftlens.probes.forgetting import Config
from peftlens.retention import MAX_LENGTH, reference, scores, suite
from peftlens.scoring import log_probabilities

REPEATS = 3


def seconds(action) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def main() -> None:
    """Print a Markdown table."""
    base, config = open_base("smollm2-135m"), Config()
    encoder = Encoder.of(base, MAX_LENGTH)
    print(f"{base.dtype}; a checkpoint on the default suites, {config.items} items at most\n")
    print("| suite | items | seconds | each answer by itself | ratio |\n|---|---|---|---|---|")
    total = 0.0
    for name in config.suites:
        asked = suite(base, name, {}, config.items)
        known = reference(base, asked)
        rows = [row for item in asked.items for row in item.rows]
        ours, plain = [], []
        for _ in range(REPEATS):
            ours.append(seconds(lambda a=asked, k=known: scores(base.model, base, a, k)))
            if not asked.texts:
                plain.append(seconds(lambda r=rows: log_probabilities(base.model, encoder, r, "")))
        own = statistics.median(ours)
        total += own
        beside = f"{statistics.median(plain):.1f}" if plain else ""
        ratio = f"{np.median(np.array(plain) / np.array(ours)):.2f}" if plain else ""
        print(f"| {name} | {len(asked.items)} | {own:.1f} | {beside} | {ratio} |", flush=True)
    print(f"| together | | {total:.1f} | | |")


if __name__ == "__main__":
    main()
