import numpy as np
import pytest
from sweep import study

from peftlens.results.sweep import best_configurations


def test_the_best_rate_is_chosen_on_validation_examples():
    tables = study({"lora rank=1 learning_rate=0.1": ("lora", 10, 0.6),
                    "lora rank=1 learning_rate=0.01": ("lora", 10, 0.8)})  # fmt: skip
    # on the test examples the other one is better, which must not matter
    tables["cost"]["validation_accuracy"] = [0.9] * 3 + [0.7] * 3
    (one,) = best_configurations(tables)
    assert (one.row["learning_rate"], one.row["n_learning_rates"]) == (0.1, 2)
    assert one.row["accuracy"] == pytest.approx(0.6, abs=0.03)
    assert one.row["validation_accuracy"] == 0.9


def test_a_methods_configurations_come_by_size():
    found = best_configurations(study({"full": ("full", 99, 0.8), "lora rank=8": ("lora", 80, 0.8),
                            "lora rank=1": ("lora", 10, 0.6)}))  # fmt: skip
    assert [one.name for one in found] == ["full", "lora rank=1", "lora rank=8"]
    assert [one.size for one in found] == [99, 10, 80]


def test_answers_are_seeds_by_items_and_differences_are_paired():
    one, other = best_configurations(
        study({"lora rank=1": ("lora", 10, 0.6), "full": ("full", 99, 0.8)})
    )
    assert one.right.shape == (3, 400)
    assert one.row["accuracy"] == one.right.to_numpy().mean()
    message = one.minus(other, "gap")
    assert message["gap"] == pytest.approx(one.row["accuracy"] - other.row["accuracy"])
    # what is hard for one is hard for the other: paired, the interval is narrow
    assert message["gap_ci_high"] - message["gap_ci_low"] < one.row["ci_high"] - one.row["ci_low"]
    assert np.isfinite(one.row["seeds_ci_low"])


def test_rates_belong_together_however_their_configurations_were_written():
    one, other = "lora rank=1 alpha=4 learning_rate=0.1", "lora alpha=4 rank=1 learning_rate=0.01"
    tables = study({one: ("lora", 10, 0.6), other: ("lora", 10, 0.8)})
    tables["configurations"]["sweep"] = "lora rank=1 alpha=4"
    (found,) = best_configurations(tables)
    assert (found.name, found.row["n_learning_rates"]) == ("lora rank=1 alpha=4", 2)
    assert found.row["learning_rate"] == 0.01
