import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from peftlens.probes import task_accuracy


def items(run, configuration, chosen):
    return pd.DataFrame(
        {
            "run": run, "configuration": configuration, "method": "m",
            "item": range(len(chosen)), "correct": 1,
            "chosen": chosen, "chosen_per_byte": 0, "chosen_calibrated": chosen, "tied": False,
            "loss": 0.5, "label_loss": 0.25, "majority": 0, "majority_class": "no", "n_answers": 2,
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


def test_label_loss_and_calibrated_accuracy_have_intervals_over_seeds_and_items():
    """By Student's t over the items of the one run: 4 values, of which 3 are right."""
    table = items("r", "a", [0, 0, 0, 0]).assign(
        chosen_calibrated=[1, 1, 1, 0], label_loss=[0.1, 0.2, 0.3, 0.4], tied=[True] + [False] * 3
    )
    (row,) = task_accuracy.combine({"task_items": table}).to_dict("records")
    assert (row["accuracy"], row["calibrated_accuracy"], row["tied"]) == (0, 0.75, 0.25)
    expected = ttest_1samp([0.1, 0.2, 0.3, 0.4], 0).confidence_interval()
    assert row["label_loss"] == pytest.approx(0.25)
    assert row["label_loss_ci_low"] == pytest.approx(expected.low)
    assert row["label_loss_ci_high"] == pytest.approx(expected.high)
    # 0.75 ± 3.18 x 0.25, cut where a share ends
    assert (row["calibrated_ci_low"], row["calibrated_ci_high"]) == (0.0, 1.0)


def test_the_majority_is_that_of_the_training_split_and_options_have_chance():
    labels = items("r", "labels", [0, 0, 0, 0]).assign(
        correct=[1, 0, 0, 0], majority=1, majority_class="yes"
    )
    options = items("s", "options", [0, 0]).assign(
        majority=None, majority_class=None, chosen_calibrated=None, n_answers=[2, 4]
    )
    frame = task_accuracy.combine({"task_items": pd.concat([labels, options])})
    assert frame["majority_accuracy"].tolist() == [1 / 4, (1 / 2 + 1 / 4) / 2]
    assert frame["majority_class"].dropna().tolist() == ["yes"]
    assert frame["calibrated_accuracy"].isna().tolist() == [False, True]
