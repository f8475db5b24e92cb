import numpy as np
import pandas as pd
import pytest

from peftlens.probes.forgetting_at_matched_fit import Config, combine, crossing


def curves(*runs):
    """Tables of runs (method, rate, seed, accuracies, forgettings), one saved step each."""
    learning, forgetting = [], []
    for number, (method, rate, seed, accuracies, losses) in enumerate(runs):
        run = {"run": f"r{number}", "configuration": f"{method} learning_rate={rate}"}
        for step, (accuracy, loss) in enumerate(zip(accuracies, losses, strict=True)):
            learning.append(run | {"method": method, "seed": seed, "step": step,
                                   "accuracy": accuracy, "learning_rate": rate})  # fmt: skip
            forgetting.append(run | {"step": step, "suite": "wiki", "forgetting": loss,
                                     "accuracy_change": None})  # fmt: skip
    frames = pd.DataFrame(learning), pd.DataFrame(forgetting).astype({"accuracy_change": "Float64"})
    names = frames[0][["configuration"]].drop_duplicates()
    names = names.assign(sweep=names["configuration"].str.split().str[0])
    return dict(zip(("learning", "forgetting", "configurations"), (*frames, names), strict=True))


def test_a_level_is_found_on_a_straight_line_between_steps():
    assert crossing(np.array([0.2, 0.6, 0.4]), 0.5) == (0, pytest.approx(0.75))
    assert crossing(np.array([0.2, 0.6, 0.8]), 0.7) == (1, pytest.approx(0.5))
    assert crossing(np.array([0.5, 0.6]), 0.4) == (0, 0.0)
    assert crossing(np.array([0.5, 0.6]), 0.7) is None


def test_forgetting_is_read_where_the_level_is_crossed():
    tables = curves(
        ("full", 0.1, 0, [0.2, 0.6], [0.0, 1.0]), ("full", 0.1, 1, [0.2, 0.8], [0.0, 3.0]),
        ("lora", 0.1, 0, [0.2, 0.5], [0.0, 0.3]), ("lora", 0.1, 1, [0.2, 0.8], [0.0, 0.6]),
    )  # fmt: skip
    found = combine(tables, Config(levels=(0.5,))).set_index("method")
    # full: 1 x 0.3 / 0.4 and 3 x 0.3 / 0.6; lora: 0.3 x 1 and 0.6 x 0.5
    assert found.loc["full", "forgetting"] == pytest.approx((0.75 + 1.5) / 2)
    assert found.loc["lora", "forgetting"] == pytest.approx(0.3)
    assert found.loc["lora", "diff_vs_full"] == pytest.approx(((0.3 - 0.75) + (0.3 - 1.5)) / 2)
    half = 12.7062 * np.std([-0.45, -1.2], ddof=1) / 2**0.5  # t of one degree of freedom
    assert found.loc["lora", "diff_vs_full_ci_low"] == pytest.approx(-0.825 - half, rel=1e-4)
    assert found["n_seeds"].tolist() == [2, 2]
    assert np.isnan(found.loc["full", "diff_vs_full"])


def test_the_rate_that_forgets_least_counts_if_all_its_seeds_arrive():
    tables = curves(
        ("full", 0.1, 0, [0.2, 0.8], [0.0, 2.0]), ("full", 0.1, 1, [0.2, 0.8], [0.0, 2.0]),
        ("full", 0.2, 0, [0.2, 0.8], [0.0, 1.0]), ("full", 0.2, 1, [0.2, 0.8], [0.0, 1.0]),
        ("full", 0.3, 0, [0.2, 0.8], [0.0, 0.1]), ("full", 0.3, 1, [0.2, 0.3], [0.0, 0.1]),
    )  # fmt: skip
    (row,) = combine(tables, Config(levels=(0.8,))).to_dict("records")
    assert (row["configuration"], row["learning_rate"], row["n_learning_rates"]) == ("full", 0.2, 3)
    assert row["forgetting"] == 1.0


def test_levels_end_at_what_all_methods_reach():
    tables = curves(
        ("full", 0.1, 0, [0.2, 0.9], [0.0, 1.0]), ("lora", 0.1, 0, [0.2, 0.6], [0.0, 1.0])
    )
    found = combine(tables, Config())
    assert sorted(set(found["level"])) == pytest.approx([0.3, 0.4, 0.5, 0.6])
    assert found["forgetting"].notna().all()
    assert found["ci_low"].isna().all()


def test_a_level_that_nobody_reaches_has_no_number():
    tables = curves(("full", 0.1, 0, [0.2, 0.9], [0.0, 1.0]))
    (row,) = combine(tables, Config(levels=(0.95,))).to_dict("records")
    assert (row["n_seeds"], pd.isna(row["forgetting"])) == (0, True)


def test_questions_are_compared_by_accuracy():
    tables = curves(("full", 0.1, 0, [0.2, 0.8], [None, None]))
    tables["forgetting"]["accuracy_change"] = [0.0, -0.2]
    (row,) = combine(tables, Config(levels=(0.5,))).to_dict("records")
    assert row["accuracy_change"] == pytest.approx(-0.1)


def test_a_run_without_checkpoints_has_no_curve():
    assert combine(curves(("full", 0.1, 0, [0.9], [1.0])), Config()).empty
