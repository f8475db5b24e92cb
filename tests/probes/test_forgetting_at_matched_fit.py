import numpy as np
import pandas as pd
import pytest
from scipy.stats import t
from sklearn.isotonic import IsotonicRegression

from peftlens.probes.forgetting_at_matched_fit import Config, combine, crossing, smoothed


def curves(*runs, noise=0.0, losses=None):
    """Tables of runs (method, rate, seed, accuracies, forgettings), one saved step each.

    Each of the 3 texts of 10 tokens is forgotten alike, up to noise that adds up to zero.
    """
    learning, items = [], []
    for number, (method, rate, seed, accuracies, lost) in enumerate(runs):
        run = {"run": f"r{number}", "configuration": f"{method} learning_rate={rate}",
               "method": method, "seed": seed}  # fmt: skip
        for step, (accuracy, each) in enumerate(zip(accuracies, lost, strict=True)):
            loss = 1 - accuracy if losses is None else losses[number][step]
            learning.append(run | {"step": step, "accuracy": accuracy, "loss": loss,
                                   "learning_rate": rate})  # fmt: skip
            items += [
                run | {"step": step, "suite": "passages", "item": item, "base_loss": 5.0,
                       "loss": 5.0 + 10 * (each + own * noise), "tokens": 10,
                       "base_right": None, "right": None}
                for item, own in enumerate((-1, 0, 1))
            ]  # fmt: skip
    learning = pd.DataFrame(learning)
    names = learning[["configuration"]].drop_duplicates()
    names = names.assign(sweep=names["configuration"].str.split().str[0])
    return {
        "learning": learning,
        "forgetting_items": pd.DataFrame(items),
        "configurations": names,
    }


def test_a_level_is_found_on_a_straight_line_between_steps():
    assert crossing(np.array([0.2, 0.6, 0.4]), 0.5) == (0, pytest.approx(0.75))
    assert crossing(np.array([0.2, 0.6, 0.8]), 0.7) == (1, pytest.approx(0.5))
    assert crossing(np.array([0.5, 0.6]), 0.4) == (0, 0.0)
    assert crossing(np.array([0.5, 0.6]), 0.7) is None


def test_a_run_that_begins_past_the_level_has_no_value_there():
    """Its untrained model, with a forgetting of zero, was not saved."""
    tables = curves(
        ("full", 0.1, 0, [0.9, 0.95], [2.0, 3.0]), ("lora", 0.1, 0, [0.5, 0.8], [0.0, 1.0])
    )
    for frame in (tables["learning"], tables["forgetting_items"]):
        frame["step"] += 20
    found = combine(tables, Config(levels=(0.6, 0.9))).set_index(["method", "level"])
    assert found.loc[("full", 0.6), "n_seeds"] == 0
    assert found.loc[("lora", 0.6), "forgetting"] == pytest.approx(1 / 3)
    assert found.loc[("full", 0.9), "forgetting"] == pytest.approx(2.0)  # it is just there
    assert found.loc["lora", "diff_vs_full"].isna().all()
    assert combine(tables, Config())["level"].unique() == [0.8]  # LoRA's best, below full's first


def test_the_run_that_sets_the_highest_level_reaches_it():
    """The mean of 0.7 and 0.6 is a little less than 0.65."""
    tables = curves(("full", 0.1, 0, [0.25, 0.6, 0.7, 0.6], [0.0, 1.0, 2.0, 3.0]))
    assert tables["learning"]["accuracy"].pipe(smoothed).max() < 0.65
    found = combine(tables, Config()).set_index("level")
    assert found.loc[0.65, "n_seeds"] == 1
    assert found.loc[0.65, "forgetting"] == pytest.approx(2.0)


def test_a_curve_is_smoothed_as_scikit_learn_does():
    fit = np.random.default_rng(0).normal(np.arange(9) / 4)
    expected = IsotonicRegression().fit_transform(np.arange(9), fit)
    assert smoothed(pd.Series(fit)) == pytest.approx(expected)
    assert (expected != fit).any()


def test_a_lucky_step_does_not_count_as_the_level():
    """0.7, 0.5, 0.6 is 0.6 three times: the level of 0.6 is reached, and 0.7 is not."""
    tables = curves(("full", 0.1, 0, [0.2, 0.7, 0.5, 0.6], [0.0, 1.0, 2.0, 3.0]))
    found = combine(tables, Config(levels=(0.6, 0.7)))
    assert found["forgetting"].iloc[0] == pytest.approx(1.0)
    assert found["n_seeds"].tolist() == [1, 0]
    assert combine(tables, Config())["level"].max() == pytest.approx(0.6)


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
    # the texts agree, so only the seeds vary: t of one degree of freedom
    half = 12.7062 * np.std([-0.45, -1.2], ddof=1) / 2**0.5
    assert found.loc["lora", "diff_vs_full_ci_low"] == pytest.approx(-0.825 - half, rel=1e-4)
    p = 2 * t.sf(0.825 / (half / 12.7062), 1)
    assert found.loc["lora", "diff_vs_full_p_value"] == pytest.approx(p, rel=1e-4)
    assert found["n_seeds"].tolist() == [2, 2]
    assert found["n_checkpoints"].tolist() == [2, 2]
    assert found["n_tokens"].tolist() == [30, 30]
    assert np.isnan(found.loc["full", "diff_vs_full"])


def test_texts_that_differ_widen_the_interval():
    """Two seeds that agree: what is left is the t of three texts."""
    runs = [("full", 0.1, seed, [0.2, 0.8], [0.0, 1.0]) for seed in (0, 1)]
    (row,) = combine(curves(*runs, noise=0.5), Config(levels=(0.8,))).to_dict("records")
    half = t.ppf(0.975, 2) * np.std([0.5, 1.0, 1.5], ddof=1) / 3**0.5
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((1 - half, 1 + half))


def test_seeds_that_do_not_pair_have_no_difference():
    tables = curves(
        ("full", 0.1, 0, [0.2, 0.8], [0.0, 1.0]), ("full", 0.1, 1, [0.2, 0.8], [0.0, 1.0]),
        ("lora", 0.1, 0, [0.2, 0.8], [0.0, 1.0]), ("lora", 0.1, 2, [0.2, 0.8], [0.0, 1.0]),
    )  # fmt: skip
    found = combine(tables, Config(levels=(0.8,)))
    assert found["forgetting"].notna().all()
    assert found["diff_vs_full"].isna().all()


def test_the_rate_that_fits_best_counts_if_all_its_seeds_arrive():
    """The rate of 0.1 forgets less than that of 0.2, which is not what it is chosen by."""
    tables = curves(
        ("full", 0.1, 0, [0.2, 0.8], [0.0, 0.5]), ("full", 0.1, 1, [0.2, 0.8], [0.0, 0.5]),
        ("full", 0.2, 0, [0.2, 0.9], [0.0, 1.0]), ("full", 0.2, 1, [0.2, 0.8], [0.0, 1.0]),
        ("full", 0.3, 0, [0.2, 1.0], [0.0, 0.1]), ("full", 0.3, 1, [0.2, 0.7], [0.0, 0.1]),
    )  # fmt: skip
    (row,) = combine(tables, Config(levels=(0.8,))).to_dict("records")
    assert (row["configuration"], row["learning_rate"], row["n_learning_rates"]) == ("full", 0.2, 3)
    assert row["forgetting"] == pytest.approx((6 / 7 + 1) / 2)


def test_more_rates_are_no_advantage():
    """Equal rates of random forgetting: the chosen one forgets as much as any, on average.

    The least of three normal numbers would have a mean of -0.85.
    """
    rng = np.random.default_rng(0)
    found = []
    for _ in range(60):
        runs = [("full", rate, 0, [0.0, *rng.uniform(0.5, 1, 1)], [0.0, 2 * rng.normal()])
                for rate in (1, 2, 3)]  # fmt: skip
        found.append(combine(curves(*runs), Config(levels=(0.3,)))["forgetting"].item())
    assert abs(np.mean(found)) < 2.6 * np.std(found) / 60**0.5


def test_levels_end_at_what_all_methods_reach():
    tables = curves(
        ("full", 0.1, 0, [0.2, 0.9], [0.0, 1.0]), ("lora", 0.1, 0, [0.2, 0.6], [0.0, 1.0])
    )
    found = combine(tables, Config())
    assert sorted(set(found["level"])) == pytest.approx([0.3, 0.4, 0.5, 0.6])
    assert found["forgetting"].notna().all()


def test_a_level_may_be_one_of_loss():
    tables = curves(
        ("full", 0.1, 0, [0.5, 0.5], [0.0, 1.0]), ("lora", 0.1, 0, [0.5, 0.5], [0.0, 1.0]),
        losses=[[2.0, 1.0], [2.0, 1.6]],
    )  # fmt: skip
    found = combine(tables, Config(match="loss"))
    assert sorted(set(found["level"])) == pytest.approx([1.6, 1.7, 1.8, 1.9])
    end = found[found["level"] == found["level"].min()].set_index("method")
    assert end["forgetting"].to_dict() == pytest.approx({"full": 0.4, "lora": 1.0})
    assert set(end["match"]) == {"loss"}
    (row,) = combine(curves(("full", 0.1, 0, [0.5, 0.5], [0.0, 1.0]), losses=[[2.0, 1.0]]),
                     Config(match="loss", levels=(1.5,))).to_dict("records")  # fmt: skip
    assert (row["level"], row["forgetting"]) == (1.5, pytest.approx(0.5))


def test_a_level_that_nobody_reaches_has_no_number():
    tables = curves(("full", 0.1, 0, [0.2, 0.9], [0.0, 1.0]))
    (row,) = combine(tables, Config(levels=(0.95,))).to_dict("records")
    assert (row["n_seeds"], pd.isna(row["forgetting"])) == (0, True)


def test_questions_are_compared_by_accuracy():
    tables = curves(("full", 0.1, 0, [0.2, 0.8], [0.0, 0.0]))
    items = tables["forgetting_items"].assign(tokens=None, base_right=1.0, right=1.0)
    items.loc[(items["step"] == 1) & (items["item"] == 0), "right"] = 0.0
    (row,) = combine(tables | {"forgetting_items": items}, Config(levels=(0.5,))).to_dict("records")
    assert row["accuracy_change"] == pytest.approx(-1 / 3 / 2)
    assert row["accuracy_ci_low"] < row["accuracy_change"] < row["accuracy_ci_high"]
    assert pd.isna(row["forgetting"])
    assert pd.isna(row["n_tokens"])


def test_a_run_without_checkpoints_has_no_curve():
    assert combine(curves(("full", 0.1, 0, [0.9], [1.0])), Config()).empty


def test_a_kept_configuration_is_compared_with_itself_without():
    kept, plain, full = "lora keep=kl", "lora", "full"
    tables = curves(
        *((full, 0.1, seed, [0.2, 0.8], [0.0, 2.0 + seed]) for seed in (0, 1)),
        *((plain, 0.1, seed, [0.2, 0.8], [0.0, 1.0 + seed]) for seed in (0, 1)),
        *((kept, 0.2, seed, [0.2, 0.8], [0.0, 0.5 - 0.1 * seed]) for seed in (0, 1)),
        *(("full keep=kl", 0.1, seed, [0.2, 0.8], [0.0, 0.4]) for seed in (0, 1)),
    )  # fmt: skip
    names = [full, plain, kept, "full keep=kl"]
    tables["configurations"] = tables["configurations"].assign(
        sweep=names, method=["full", "lora", "lora", "full"], learning_rate=[0.1, 0.1, 0.2, 0.1],
        keep=[None, None, "kl", "kl"], keep_weight=[None, None, 1.0, 1.0],
    )  # fmt: skip
    tables["learning"]["configuration"] = tables["learning"]["configuration"].map(
        dict(zip(tables["configurations"]["configuration"], names, strict=True))
    )
    tables["configurations"]["configuration"] = names
    methods = tables["learning"]["method"].str.split().str[0]
    tables["learning"]["method"] = methods
    found = combine(tables, Config(levels=(0.8,))).set_index("configuration")
    assert found["keep"].isna().tolist() == [True, True, False, False]
    assert found.loc[kept, "plain"] == plain
    assert found.loc[kept, "diff_vs_plain"] == pytest.approx(((0.5 - 1) + (0.4 - 2)) / 2)
    assert found.loc["full keep=kl", "diff_vs_plain"] == pytest.approx(((0.4 - 2) + (0.4 - 3)) / 2)
    # the reference is full fine-tuning without it
    assert found.loc[kept, "diff_vs_full"] == pytest.approx(((0.5 - 2) + (0.4 - 3)) / 2)
    assert found.loc[[full, plain], "diff_vs_plain"].isna().all()
