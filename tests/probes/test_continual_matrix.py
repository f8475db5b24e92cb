import pandas as pd
import pytest
from sequence_answers import sequence_answers

from peftlens.numerics.mixed_model import crossed_estimate
from peftlens.probes.continual_matrix import combine

BASE = [1, 0, 1, 0, 1]
RUNS = (
    ("x", "a", None, {"a": [1, 1, 1, 1, 0], "b": [0, 0, 1, 0, 0]}),
    ("y", "b", "x", {"a": [0, 1, 0, 1, 1], "b": [1, 1, 1, 1, 1]}),
)


def rows(seed, runs=RUNS):
    return sequence_answers(runs, {"a": BASE, "b": BASE}, seed, "full")


def test_cells_and_the_base_above_them():
    table = pd.DataFrame(rows(0))
    found = combine({"sequence_items": table}).set_index(["after_task", "task"])
    assert found["accuracy"].to_dict() == {
        ("base", "a"): 0.6, ("base", "b"): 0.6, ("a", "a"): 0.8, ("a", "b"): 0.2,
        ("b", "a"): 0.6, ("b", "b"): 1.0,
    }  # fmt: skip
    assert set(found["n_items"]) == {5}
    alone = {"sequence_items": table[table["run"] == "x0"]}
    assert combine(alone).empty


def test_intervals_are_over_seeds_and_items_and_within_the_possible():
    other = (RUNS[0], ("y", "b", "x", {"a": [1, 1, 0, 1, 0], "b": [1, 1, 1, 1, 0]}))
    table = pd.DataFrame(rows(0) + rows(1, other))
    found = combine({"sequence_items": table}).set_index(["after_task", "task"])
    cell = found.loc["b", "a"]
    expected = crossed_estimate([[0, 1, 0, 1, 1], [1, 1, 0, 1, 0]])
    assert cell["n_seeds"] == 2
    assert cell["accuracy"] == expected.value
    assert cell["ci_low"] == pytest.approx(max(expected.low, 0))
    assert cell["ci_high"] == pytest.approx(min(expected.high, 1))
    # the base has no seeds: its items alone
    base = crossed_estimate([BASE])
    assert found.loc[("base", "a"), "ci_low"] == pytest.approx(max(base.low, 0))
