import numpy as np
import pandas as pd
import pytest
from sweep import study

from peftlens.results.sweep import best_configurations, kept_sweeps, paired_differences


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
    gaps = paired_differences({"one": one.right, "other": other.right},
                              {"one": "full", "other": "lora"})  # fmt: skip
    gap = gaps["one", "other"]
    assert gap.value == pytest.approx(one.row["accuracy"] - other.row["accuracy"])
    assert gaps["other", "one"] == -gap
    # what is hard for one is hard for the other: paired, the interval is narrow
    assert gap.high - gap.low < one.row["ci_high"] - one.row["ci_low"]
    assert np.isfinite(one.row["seeds_ci_low"])


def test_rates_belong_together_however_their_configurations_were_written():
    one, other = "lora rank=1 alpha=4 learning_rate=0.1", "lora alpha=4 rank=1 learning_rate=0.01"
    tables = study({one: ("lora", 10, 0.6), other: ("lora", 10, 0.8)})
    tables["configurations"]["sweep"] = "lora rank=1 alpha=4"
    (found,) = best_configurations(tables)
    assert (found.name, found.row["n_learning_rates"]) == ("lora rank=1 alpha=4", 2)
    assert found.row["learning_rate"] == 0.01


def test_pairs_of_one_method_share_the_noise_of_seeds():
    rng = np.random.default_rng(0)
    quiet, loud = (
        {f"{name} {rank}": frame for rank, frame in enumerate(frames)}
        for name, frames in (
            ("lora", [_scores(rng, 0.05) for _ in range(4)]),
            ("prompt_tuning", [_scores(rng, 0.1) for _ in range(2)]),
        )
    )
    scores = quiet | loud
    found = paired_differences(scores, {name: name.split()[0] for name in scores})
    freedom = {pair: one.degrees_of_freedom for pair, one in found.items()}
    own = found["prompt_tuning 0", "prompt_tuning 1"]
    assert own.degrees_of_freedom == pytest.approx(2, abs=0.2)
    assert freedom["lora 0", "prompt_tuning 0"] == pytest.approx(2, abs=0.5)
    assert 5.5 < freedom["lora 0", "lora 1"] < 8


def _scores(rng, seed_sd):
    right = rng.random((3, 400)) < 0.7 + rng.normal(0, seed_sd, (3, 1))
    return pd.DataFrame(right.astype(float))


def test_what_differs_in_nothing_but_what_keeps_it():
    rows = pd.DataFrame(
        {"configuration": ["a 1", "a 2", "b", "c", "d", "e"],
         "sweep": ["a", "a", "b", "c", "d", "e"],
         "method": ["lora", "lora", "lora", "lora", "full", "lora"],
         "rank": [8, 8, 8, 4, None, 8], "learning_rate": [1.0, 2.0, 3.0, 1.0, 1.0, 1.0],
         "keep": [None, None, "kl", "kl", None, "l2sp"], "keep_weight": [None, None, 1, 1, None, 2],
         "keep_data": [None, None, "wiki", "wiki", None, None]}
    )  # fmt: skip
    found = kept_sweeps({"configurations": rows})
    assert found["keep"].tolist() == [None, "kl", "kl", None, "l2sp"]
    assert [None if pd.isna(one) else one for one in found["plain"]] == [None, "a", None, None, "a"]
    bare = kept_sweeps({"configurations": rows[["configuration", "sweep"]]})
    assert bare.isna().all(axis=None)
