import pandas as pd
import pytest
from sequence_answers import sequence_answers

from peftlens.numerics.mixed_model import crossed_estimate
from peftlens.probes.continual import combine


def answers(n_right, start=0):
    """Ten answers, of which so many in a row are right."""
    return [int((item - start) % 10 < n_right) for item in range(10)]


def rows(*finals):
    """Sequences of tasks a and b, one a seed, which end with these right answers on a."""
    found = []
    for seed, final in enumerate(finals):
        runs = (
            ("x", "a", None, {"a": answers(9), "b": answers(4)}),
            ("y", "b", "x", {"a": answers(final, seed), "b": answers(8)}),
        )
        found += sequence_answers(runs, {"a": [0, 1] * 5, "b": [0, 1] * 5}, seed)
    return {"sequence_items": pd.DataFrame(found)}


def test_measures_with_their_intervals_over_seeds_and_items():
    found = combine(rows(5, 6, 7)).set_index("measure")
    assert found["value"].to_dict() == pytest.approx(
        {"ACC": 0.7, "BWT": -0.3, "FWT": -0.1, "F": 0.3}
    )
    assert set(found["n_seeds"]) == {3}
    assert set(found["n_items"]) == {10}
    assert set(found["orders"]) == {"a → b"}
    assert set(found["name"]) == {"lora (one adapter)"}  # b was never trained alone


def test_the_interval_of_the_only_earlier_task_is_that_of_its_paired_differences():
    found = combine(rows(5, 6, 7)).set_index("measure")
    changes = [[y - x for x, y in zip(answers(9), answers(n, seed), strict=True)]
               for seed, n in enumerate((5, 6, 7))]  # fmt: skip
    expected = crossed_estimate(changes)
    assert found.loc["BWT", "ci_low"] == pytest.approx(expected.low)
    assert found.loc["BWT", "ci_high"] == pytest.approx(expected.high)


def test_one_seed_has_an_interval_over_items():
    found = combine(rows(5)).set_index("measure")
    assert found.loc["BWT", "ci_low"] < -0.4 < found.loc["BWT", "ci_high"]


def test_no_sequence_no_row():
    table = rows(5)["sequence_items"]
    assert combine({"sequence_items": table[table["continue_from"].isna()]}).empty
    assert combine({"sequence_items": table.head(0)}).empty
