import math

import numpy as np
import pandas as pd
import pytest
import simulated_studies

from peftlens.results.best_rates import (
    BestRates,
    best_rates,
    chosen_rates,
    edge_text,
    log_ratio,
    untuned,
    untuned_in_chart,
)


def tables(accuracies, losses=None):
    """One configuration; `accuracies` has a row per rate and a column per seed."""
    runs, named = [], []
    for rate, row in accuracies.items():
        label = f"lora learning_rate={rate}"
        named.append({"configuration": label, "sweep": "lora", "learning_rate": rate})
        runs += [
            {"run": f"{label} {seed}", "configuration": label, "seed": seed, "learning_rate": rate,
             "validation_accuracy": value,
             "validation_loss": losses[rate][seed] if losses else 1.0}
            for seed, value in enumerate(row)
        ]  # fmt: skip
    return {"cost": pd.DataFrame(runs), "configurations": pd.DataFrame(named)}


def test_each_seed_has_its_best_rate():
    found = best_rates(tables({1e-4: [0.5, 0.8, 0.7], 1e-3: [0.9, 0.7, 0.7], 1e-2: [0, 0, 0.8]}))
    assert found["lora"].logs.tolist() == pytest.approx([-3, -4, -2])
    assert found["lora"].at_edge.tolist() == [False, True, True]
    assert found["lora"].step == pytest.approx(1)
    assert found["lora"].score == pytest.approx((0.9 + 0.8 + 0.8) / 3)
    assert found["lora"].typical == pytest.approx(1e-3)


def test_of_equal_accuracies_the_lower_loss_is_better():
    flat = {1e-4: [0.8], 1e-3: [0.8], 1e-2: [0.8]}
    assert best_rates(tables(flat, {1e-4: [2], 1e-3: [1], 1e-2: [3]}))["lora"].logs[0] == -3


def test_two_rates_are_no_grid():
    assert best_rates(tables({1e-4: [0.8], 1e-3: [0.9]})) == {}


def test_the_chosen_rate_is_best_on_average():
    one = tables({1e-4: [0.5, 0.9], 1e-3: [0.8, 0.8], 1e-2: [0.9, 0.4]})
    assert chosen_rates(one) == {"lora": 1e-3}


def of(logs, step=0.3):
    return BestRates(pd.Series(logs), pd.Series([False] * len(logs)), step, 0.8)


def test_the_variance_is_that_of_the_seeds_and_of_the_rounding():
    ratio = log_ratio(of([-3.0, -3.2, -2.8]), of([-4.0, -4.0, -4.0], step=0.6))
    assert ratio.value == pytest.approx(1.0)
    seeds, rounding = 0.04 / 3, (0.09 + 0.36) / 12
    assert ratio.standard_error == pytest.approx(math.sqrt(seeds + rounding))
    assert ratio.degrees_of_freedom == pytest.approx((seeds + rounding) ** 2 / (seeds**2 / 2))


def test_seeds_that_agree_are_no_certainty():
    ratio = log_ratio(of([-3.0] * 3), of([-4.0] * 3))
    assert ratio.low == pytest.approx(1 - 1.96 * math.sqrt(0.18 / 12), abs=1e-4)


def test_only_shared_seeds_count():
    one, other = of([-3.0, -3.0]), of([-4.0, -4.0])
    other.logs.index = [1, 2]
    assert log_ratio(one, other) is None


def test_the_edge_of_a_grid():
    frame = pd.DataFrame({"sweep": ["a"] * 3 + ["b"] * 2 + ["c"],
                          "learning_rate": [1e-4, 1e-3, 1e-2, 1e-3, 1e-2, 1e-3]})  # fmt: skip
    tables = {"configurations": frame}
    assert untuned({"a": 1e-3, "b": 1e-3, "c": 1e-3}, tables) == {"b", "c"}
    assert untuned({"a": 0.01, "unknown": 1e-3}, tables) == {"a", "unknown"}


def test_the_grid_of_a_rate_that_was_raced_is_that_of_the_race():
    names = ["inside", "edge", "not raced"]
    confirmed = pd.DataFrame({"sweep": names, "learning_rate": 1e-3})
    raced = pd.DataFrame({"configuration": names[:2], "lowest": 1e-4, "highest": [1e-2, 1e-3]})
    one = {"configurations": confirmed, "raced_rates": raced}
    assert untuned(dict.fromkeys(names, 1e-3), one) == {"edge", "not raced"}


def test_the_text_of_no_edges_is_empty():
    assert edge_text([]) == ""
    assert edge_text(["a", "b"]).startswith(" Best rates at the edge of their grid: a, b;")


def test_intervals_of_the_ratio_cover():
    """Grids lie anywhere around the true best rates."""
    rng = np.random.default_rng(0)
    hits = []
    for _ in range(200):
        grid, optima = simulated_studies.grids(rng), {"lora": -3.0, "full": -4.0}
        found = best_rates(simulated_studies.rates(optima, rng, seeds=5, grid=grid))
        ratio = log_ratio(found["lora"], found["full"])
        hits.append(ratio.low <= 1 <= ratio.high)
    assert 0.93 <= np.mean(hits) <= 1


def test_the_edge_of_a_grid_in_a_chart():
    one = simulated_studies.charts({"lora": 0.8, "full": 0.8, "ia3": 0.8}, at_edge=["full", "ia3"])
    assert untuned_in_chart(one, ["full", "lora"]) == ["full"]
