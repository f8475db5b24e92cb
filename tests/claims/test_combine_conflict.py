"""All outcomes, from tables made by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from peftlens.claims import combine_conflict, judge


def table(canceled, kept, seeds=2):
    """A pair of tasks for each value, both sides, some seeds; noise of the seeds cancels."""
    rows = []
    for pair, (cancels, keeps) in enumerate(zip(canceled, kept, strict=True)):
        for seed in range(seeds):
            noise = 0.01 * (-1) ** seed
            for side in (0, 1):
                rows.append(
                    {
                        "configuration": "lora", "other_configuration": "lora",
                        "task": f"t{pair}{'ab'[side]}", "other_task": f"t{pair}{'ba'[side]}",
                        "seed": seed, "canceled": cancels,
                        "kept": keeps + noise + 0.05 * (-1) ** side,
                    }
                )  # fmt: skip
    return {"combination": pd.DataFrame(rows)}


X = np.linspace(0.1, 0.6, 30)
RNG = np.random.default_rng(0)


def test_conflict_that_predicts():
    outcome, sentence = combine_conflict.verdict(table(X, 1 - X))
    assert outcome == "supported"
    assert "Over 30 pairs" in sentence
    assert "35% of the magnitudes cancel" in sentence
    assert "is 1.00" in sentence


def test_conflict_that_predicts_the_opposite_or_nothing():
    assert combine_conflict.verdict(table(X, X))[0] == "contradicted"
    x = np.tile(X, 10)
    assert combine_conflict.verdict(table(x, RNG.normal(size=300)))[0] == "contradicted"


def test_too_few_pairs_to_tell():
    kept = 1 - X[:8] + RNG.normal(scale=0.1, size=8)
    outcome, sentence = combine_conflict.verdict(table(X[:8], kept))
    assert outcome == "insufficient evidence"
    value = spearmanr(X[:8], 1 - kept).statistic
    error = np.sqrt((1 + value**2 / 2) / 5)
    low, high = np.tanh(np.arctanh(value) + 1.959964 * np.array([-error, error]))
    assert f"is {value:.2f} (95 % interval {low:.2f} to {high:.2f})" in sentence


@pytest.mark.parametrize("kept", [[0.5] * 5, [None] * 9])
def test_nothing_to_judge(kept):
    frame = table(X[: len(kept)], [0.5] * len(kept))["combination"]
    if kept[0] is None:
        frame["kept"] = None
    assert combine_conflict.verdict({"combination": frame})[0] == "not measured"
    assert "of which" not in combine_conflict.verdict({"combination": frame})[1]


def test_no_order_where_all_are_alike():
    assert combine_conflict.verdict(table([0.3] * 9, X[:9]))[0] == "insufficient evidence"


def test_without_a_table_it_says_how_to_measure_it():
    (found,) = [one for one in judge({}) if one.claim == "combine_conflict"]
    assert found.outcome == "not measured"
    assert "probe combination" in found.sentence
