"""Paired difference of test accuracies for every pair of configurations.

Each configuration is at its best learning rate by validation accuracy. The difference is on the
same test examples with the same seeds; a mixed model with both as random effects gives its interval
(METHOD). Configurations with overlapping intervals may still differ significantly: only the paired
difference decides.
"""

from collections.abc import Mapping
from itertools import permutations

import pandas as pd

from peftlens.numerics.mixed_model import Estimate
from peftlens.results.estimate_columns import noise, noise_columns
from peftlens.results.sweep import (
    TABLES,
    best_configurations,
    interval_columns,
    paired_differences,
)
from peftlens.results.table import Chart, Column

INPUTS = TABLES
VERSION = 5
COLUMNS = (
    Column("configuration", "method and its hyperparameters, without the learning rate"),
    Column("other", "configuration to compare with"),
    Column("difference", "accuracy minus that of the other configuration", "1", "higher"),
    Column(
        "difference_ci_low", "lower end of its paired 95 % interval over seeds and examples", "1"
    ),
    Column("difference_ci_high", "upper end of this interval", "1"),
    Column("difference_ci90_low", "lower end of the 90 % interval, for tests of equivalence", "1"),
    Column("difference_ci90_high", "upper end of this interval", "1"),
    *noise_columns(),
    Column("p_value", "two-sided p of no difference", "1"),
    Column(
        "detectable_difference", "least difference seen by such a test with power 0.8", "1", "lower"
    ),
    Column("n_seeds", "number of runs per configuration"),
    Column("n_items", "number of test examples"),
)
CHARTS = (
    Chart("heatmap", x="other", y="configuration", value="difference",
          title="Accuracy of the row's configuration minus that of the column's"),
)  # fmt: skip


def combine(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one row per ordered pair; the difference is missing if the seeds differ."""
    best = {one.name: one for one in best_configurations(tables)}
    found = paired_differences(
        {name: one.right for name, one in best.items()},
        {name: one.row["method"] for name, one in best.items()},
    )
    # both orders of a pair one after the other
    pairs = sorted(permutations(best, 2), key=lambda pair: sorted(map([*best].index, pair)))
    rows = [
        {
            "configuration": a,
            "other": b,
            "n_seeds": len(best[a].right),
            "n_items": best[a].right.shape[1],
        }
        | _difference(found.get((a, b)))
        for a, b in pairs
    ]
    return pd.DataFrame(rows, columns=[column.name for column in COLUMNS])


def _difference(estimate: Estimate | None) -> dict[str, float | None]:
    if estimate is None:
        return {}
    wide = estimate.at_level(0.9)
    return interval_columns("difference", estimate) | {
        "difference_ci90_low": wide.low,
        "difference_ci90_high": wide.high,
        **noise(estimate),
        "p_value": estimate.p_value,
        "detectable_difference": estimate.detectable(),
    }
