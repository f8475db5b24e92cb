"""Every two configurations side by side: the difference of their accuracies, paired.

Each at the learning rate that is best on validation examples; the difference is that on the same
test examples with the same seeds, and its interval resamples both. Two intervals that overlap may
belong to configurations that differ beyond doubt: only the paired difference tells.
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
    Column("other", "what it is compared with"),
    Column("difference", "accuracy minus the other's", "1", "higher"),
    Column(
        "difference_ci_low", "lower end of its paired 95 % interval over seeds and examples", "1"
    ),
    Column("difference_ci_high", "upper end", "1"),
    Column("n_seeds", "runs of each"),
    Column("n_items", "test examples"),
)
CHARTS: tuple[Chart, ...] = ()


def combine(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """A row for every pair, both ways round; without a difference where seeds are not the same."""
    found = best_configurations(tables)
    rows = [
        {
            "configuration": a.name,
            "other": b.name,
            "n_seeds": len(a.right),
            "n_items": a.right.shape[1],
        }
        | a.minus(b, "difference")
        for pair in combinations(found, 2)
        for a, b in (pair, pair[::-1])
    ]
    return pd.DataFrame(rows, columns=[column.name for column in COLUMNS])
