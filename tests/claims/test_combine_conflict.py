"""All outcomes, from tables made by hand."""

from itertools import combinations

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
    outcome, sentence, _ = combine_conflict.verdict(table(X, 1 - X))
    assert outcome == "supported"
    assert "Over 30 pairs" in sentence
    assert "35% of the magnitudes cancel" in sentence
    assert "is 1.00" in sentence


def test_conflict_that_predicts_the_opposite_or_nothing():
    assert combine_conflict.verdict(table(X, X))[0] == "contradicted"
    x = np.tile(X, 10)
    assert combine_conflict.verdict(table(x, RNG.normal(size=300)))[0] == "contradicted"


def related(n_tasks, rng, slope=0.0, noise=1.0):
    """Table of all pairs of tasks, whose conflict and loss are sums of effects of both tasks."""
    cancels, loses = rng.normal(0, 3, (2, n_tasks))
    loses = slope * cancels + (1 - slope**2) ** 0.5 * loses
    rows = [
        {"configuration": "lora", "other_configuration": "lora", "task": f"t{a}",
         "other_task": f"t{b}", "seed": 0, "canceled": cancels[a] + cancels[b] + x,
         "kept": 1 - (loses[a] + loses[b] + slope * x + (1 - slope**2) ** 0.5 * y)}
        for a, b in combinations(range(n_tasks), 2)
        for x, y in [rng.normal(0, noise, 2)]
    ]  # fmt: skip
    return {"combination": pd.DataFrame(rows)}


def test_pairs_that_share_a_task_are_not_independent():
    """The true correlation is 0.3, the margin: 2.5 % of studies may miss it on either side."""
    rho = 2 * np.sin(np.pi * 0.3 / 6)  # of a normal distribution with this rank correlation
    rng = np.random.default_rng(0)
    found = [combine_conflict.verdict(related(8, rng, rho))[0] for _ in range(200)]
    wrong = 1 - found.count("insufficient evidence") / 200
    assert wrong < 0.08  # with the error of independent points a quarter of studies


def test_a_strong_correlation_over_many_tasks_is_found():
    outcome, sentence, (one,) = combine_conflict.verdict(related(12, RNG, 0.98, 0.3))
    assert outcome == "supported"
    assert "Over 66 pairs of tasks" in sentence
    assert one.n_seeds == 12


def test_the_jackknife_leaves_out_one_task_at_a_time():
    frame = related(5, RNG, 0.5)["combination"]
    points = combine_conflict._points(frame)
    found = combine_conflict.correlation(points)
    names = [set(pair) for pair in points["pair"]]
    left = [
        np.arctanh(
            np.clip(spearmanr(*points.loc[[f"t{n}" not in pair for pair in names],
                                          ["canceled", "lost"]].to_numpy().T).statistic,
                    -1 + 1 / 36, 1 - 1 / 36)
        )
        for n in range(5)
    ]  # fmt: skip
    assert found.standard_error == pytest.approx((4 * np.var(left)) ** 0.5)
    assert found.degrees_of_freedom == 4


@pytest.mark.parametrize("kept", [[0.5] * 2, [None] * 9])
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
