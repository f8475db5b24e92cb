import numpy as np
import pandas as pd
import pytest

from peftlens.probes import task_accuracy


def items(run, configuration, chosen):
    return pd.DataFrame(
        {
            "run": run, "configuration": configuration, "method": "m",
            "item": range(len(chosen)), "correct": 1,
            "chosen": chosen, "chosen_per_byte": 0, "loss": 0.5,
        }
    )  # fmt: skip


def test_by_hand():
    table = pd.concat([items("r0", "a", [1, 1, 0, 0]), items("r1", "a", [1, 1, 1, 0])])
    (row,) = task_accuracy.combine({"task_items": table}).to_dict("records")
    assert row["accuracy"] == pytest.approx(5 / 8)
    assert row["accuracy_per_byte"] == 0
    assert (row["n_items"], row["n_seeds"]) == (4, 2)
    # two seeds at 0.5 and 0.75: 0.625 ± 12.7 x 0.125 by Student's t, cut where a share ends
    assert (row["seeds_ci_low"], row["seeds_ci_high"]) == (0.0, 1.0)


def test_one_seed_has_no_interval_over_seeds():
    (row,) = task_accuracy.combine({"task_items": items("r", "a", [1, 0])}).to_dict("records")
    assert row["seeds_ci_low"] is None
    assert row["seeds_ci_high"] is None


def test_the_two_sources_of_noise_are_told_apart():
    rng = np.random.default_rng(0)
    items_differ = pd.concat([items(f"r{s}", "a", np.repeat([0, 1], 50)) for s in range(5)])
    seeds_differ = pd.concat(
        [items(f"r{s}", "a", (rng.random(100) < s / 4).astype(int)) for s in range(5)]
    )
    (first,) = task_accuracy.combine({"task_items": items_differ}).to_dict("records")
    (second,) = task_accuracy.combine({"task_items": seeds_differ}).to_dict("records")
    assert first["seeds_ci_high"] == first["seeds_ci_low"] == 0.5
    assert first["items_ci_high"] - first["items_ci_low"] > 0.15
    assert second["seeds_ci_high"] - second["seeds_ci_low"] > 0.4


def test_configurations_keep_their_order():
    table = pd.concat([items("r0", "z", [1]), items("r1", "a", [0])])
    assert task_accuracy.combine({"task_items": table})["configuration"].tolist() == ["z", "a"]
