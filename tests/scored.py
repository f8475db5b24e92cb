"""Scores of configurations by hand, in the form of the benchmark table."""

import pandas as pd

from peftlens.export.benchmark_table import COLUMNS


def frame(*rows):
    """Rows of configuration, metric, mean, low, high."""
    made = [
        dict.fromkeys(COLUMNS)
        | {"configuration": name, "method": name.split()[0], "task": "t", "metric": metric,
           "unit": "nats per token" if "forgetting" in metric else "1",
           "better": "lower" if "forgetting" in metric or metric == "F" else "higher",
           "mean": mean,
           "ci_low": low, "ci_high": high, "n_items": 50, "n_seeds": 2}
        for name, metric, mean, low, high in rows
    ]  # fmt: skip
    return pd.DataFrame(made, columns=list(COLUMNS))


MEASURED = frame(
    ("frozen", "accuracy", 0.5, 0.4, 0.6),
    ("lora rank=8", "accuracy", 0.9, 0.8, 1.0),
    ("full", "accuracy", 0.7, 0.6, 0.8),
    ("majority", "accuracy", 0.25, None, None),
    ("lora rank=8", "forgetting on wiki", 0.5, 0.4, 0.6),
    ("full", "forgetting on wiki", 0.1, 0.05, 0.15),
)
