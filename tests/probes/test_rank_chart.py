import numpy as np
import pandas as pd
import pytest
from sweep import study

from peftlens.evaluation import probe_runner
from peftlens.probes.rank_chart import Config, _undominated, combine


def chart(configurations, **options):
    return combine(study(configurations), Config(**options)).set_index("configuration")


def test_accuracy_saturates_where_nothing_more_is_gained():
    found = chart({"lora rank=1": ("lora", 10, 0.5), "lora rank=2": ("lora", 20, 0.8),
                   "lora rank=4": ("lora", 40, 0.8), "lora rank=8": ("lora", 80, 0.8)},
                  margin=0.03)  # fmt: skip
    assert found["within_margin"].tolist() == ["no", "best", "yes", "yes"]
    assert found["is_saturation_bound"].tolist() == [False, True, False, False]
    one = found.loc["lora rank=1"]
    assert one["diff_vs_best_ci_low"] < one["diff_vs_best"] < one["diff_vs_best_ci_high"] < -0.2


def test_what_can_not_be_told_apart_is_undecided():
    found = chart({"lora rank=1": ("lora", 10, 0.795), "lora rank=2": ("lora", 20, 0.8)},
                  margin=0.001)  # fmt: skip
    assert found["within_margin"].tolist() == ["undecided", "best"]
    assert found["is_saturation_bound"].tolist() == [False, True]  # at most there


def test_methods_saturate_by_themselves():
    found = chart({"lora rank=1": ("lora", 10, 0.9), "bottleneck bottleneck_size=1":
                   ("bottleneck", 10, 0.5)})  # fmt: skip
    assert set(found["within_margin"]) == {"best"}
    assert found["is_saturation_bound"].all()


def test_the_front_leaves_out_what_is_larger_and_worse():
    found = chart({"frozen": ("frozen", 0, 0.5), "lora rank=1": ("lora", 10, 0.8),
                   "lora rank=2": ("lora", 20, 0.7), "lora rank=4": ("lora", 40, 0.9)})  # fmt: skip
    assert found["pareto_optimal"].tolist() == [True, True, False, True]
    assert found["p_pareto_optimal"].tolist() == pytest.approx([1, 1, 0, 1], abs=0.01)


def test_equal_configurations_share_the_front_by_chance():
    found = chart({f"lora rank={r}": ("lora", 10, 0.8) for r in (1, 2)})
    assert found["p_pareto_optimal"].between(0.02, 0.98).all()


def test_of_equals_the_smaller_is_on_the_front():
    sizes, means = np.array([1, 2, 2]), np.array([[0.5, 0.5, 0.6], [0.5, 0.4, 0.4]])
    assert _undominated(sizes, means).tolist() == [[True, False, True], [True, False, False]]


def test_others_are_compared_with_the_lora_of_like_size():
    found = chart({"lora rank=1": ("lora", 10, 0.6), "lora rank=8": ("lora", 80, 0.9),
                   "bottleneck bottleneck_size=1": ("bottleneck", 70, 0.8)})  # fmt: skip
    row = found.loc["bottleneck bottleneck_size=1"]
    assert row["matched_lora"] == "lora rank=8"
    assert row["diff_vs_matched_lora"] == pytest.approx(-0.1, abs=0.03)
    assert row["diff_vs_matched_lora_ci_high"] < 0
    assert pd.isna(found.loc["lora rank=1", "matched_lora"])


def test_other_seeds_are_not_paired():
    tables = study({"lora rank=1": ("lora", 10, 0.6), "lora rank=2": ("lora", 20, 0.6)})
    last = tables["task_items"]["run"] == "lora rank=2 2"
    tables["task_items"].loc[last, "seed"] = 7
    found = combine(tables, Config())
    assert found["p_pareto_optimal"].isna().all()
    assert found["within_margin"].tolist().count("undecided") == 1


def test_without_answers_to_choose_from_there_is_no_chart():
    tables = study({"lora rank=1": ("lora", 10, 0.6)})
    tables["task_items"]["chosen"] = None
    assert combine(tables, Config()).empty


def test_runs_of_the_tiny_model(context, trained):
    runs = [trained("lora", rank=rank, seed=seed) for rank in (1, 4) for seed in (0, 1)]
    found = probe_runner.collect(context, runs, "rank_chart").frame
    assert found["rank"].tolist() == [1, 4]
    assert found["n_seeds"].tolist() == [2, 2]
    assert found["trainable_parameters"].is_monotonic_increasing
    assert found["accuracy"].between(found["ci_low"] - 1e-9, found["ci_high"] + 1e-9).all()


def test_within_a_family_numbers_differ_and_nothing_else():
    found = chart({"lora rank=1 target_modules=attention": ("lora", 10, 0.6),
                   "lora alpha=4 target_modules=attention rank=2": ("lora", 20, 0.6),
                   "lora rank=1 target_modules=all_linear": ("lora", 30, 0.6),
                   "bottleneck placement=attention": ("bottleneck", 10, 0.6)})  # fmt: skip
    assert found["family"].tolist() == [
        "lora target_modules=attention",
        "lora target_modules=attention",
        "lora target_modules=all_linear",
        "bottleneck",
    ]
