"""Default learning rates are those of the committed sweep."""

from pathlib import Path

import pandas as pd
import pytest

from peftlens import registry

ROOT = Path(__file__).parent.parent
SWEEP = pd.read_csv(ROOT / "reports" / "rates" / "rates.csv")


@pytest.mark.parametrize("method", sorted(SWEEP["method"].unique()))
def test_the_best_rate_inside_the_grid_is_the_default(method):
    rows = SWEEP[SWEEP["method"] == method]
    losses = rows.groupby("learning_rate")["validation_loss"].sum()
    best = losses.idxmin()
    inside = losses.index.min() < best < losses.index.max()
    default = registry.describe("methods", method).constants["LEARNING_RATE"]
    assert (default == best) == inside
