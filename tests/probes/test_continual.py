import pandas as pd
import pytest

from peftlens.probes.continual import combine


def rows(*finals):
    """Sequences of tasks a and b, one a seed, which end at these accuracies on a."""
    found = []
    for seed, final in enumerate(finals):
        for run, trained, after, both in (
            ("x", "a", None, (0.9, 0.4)),
            ("y", "b", "x", (final, 0.8)),
        ):
            found += [
                {
                    "run": f"{run}{seed}",
                    "shared_configuration": "lora",
                    "seed": seed,
                    "trained_on": trained,
                    "continue_from": after and f"{after}{seed}",
                    "task": task,
                    "accuracy": accuracy,
                    "base_accuracy": 0.5,
                    "n_items": 10,
                }
                for task, accuracy in zip("ab", both, strict=True)
            ]
    return {"sequence_scores": pd.DataFrame(found)}


def test_measures_with_their_intervals_over_seeds():
    found = combine(rows(0.5, 0.6, 0.7)).set_index("measure")
    assert found["value"].to_dict() == pytest.approx(
        {"ACC": 0.7, "BWT": -0.3, "FWT": -0.1, "F": 0.3}
    )
    half = 4.302653 * 0.1 / 3**0.5  # t of two degrees of freedom
    assert found.loc["BWT", "ci_low"] == pytest.approx(-0.3 - half)
    assert found.loc["BWT", "ci_high"] == pytest.approx(-0.3 + half)
    assert set(found["n_seeds"]) == {3}
    assert set(found["orders"]) == {"a → b"}
    assert set(found["name"]) == {"lora (one adapter)"}  # b was never trained alone


def test_no_sequence_no_row():
    table = rows(0.5)["sequence_scores"]
    assert combine({"sequence_scores": table[table["continue_from"].isna()]}).empty
