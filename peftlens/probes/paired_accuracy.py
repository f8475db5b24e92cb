"""Paired difference of test accuracies for every pair of configurations.

Each configuration is at its best learning rate by validation accuracy. The difference is on the
same test examples with the same seeds, and its interval resamples both. Configurations with
overlapping intervals may still differ significantly: only the paired difference decides.
"""

from collections.abc import Mapping
from itertools import combinations

import pandas as pd

from peftlens.results.sweep import TABLES, best_configurations
from peftlens.results.table import Chart, Column

INPUTS = TABLES
VERSION = 3
COLUMNS = (
    Column("configuration", "method and its hyperparameters, without the learning rate"),
    Column("other", "configuration to compare with"),
    Column("difference", "accuracy minus that of the other configuration", "1", "higher"),
    Column(
        "difference_ci_low", "lower end of its paired 95 % interval over seeds and examples", "1"
    ),
    Column("difference_ci_high", "upper end of this interval", "1"),
    Column("n_seeds", "number of runs per configuration"),
    Column("n_items", "number of test examples"),
)
CHARTS: tuple[Chart, ...] = ()


def combine(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one row per ordered pair; the difference is missing if the seeds differ."""
    configurations = best_configurations(tables)
    rows = [
        {
            "configuration": a.name,
            "other": b.name,
            "n_seeds": len(a.right),
            "n_items": a.right.shape[1],
        }
        | a.minus(b, "difference")
        for pair in combinations(configurations, 2)
        for a, b in (pair, pair[::-1])
    ]
    return pd.DataFrame(rows, columns=[column.name for column in COLUMNS])
