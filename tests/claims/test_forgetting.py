import numpy as np
import pandas as pd
import pytest
from scipy.stats import nct, norm, t

from peftlens.claims import forgetting

NAMES = ("lora", "bottleneck", "prompt_tuning", "ia3", "bitfit")


def table(*methods, level=0.8, controls=()):
    """A table of methods (difference, p-value), at two levels of which the higher one decides."""
    rows = [
        {"configuration": f"{name} a=1", "method": name, "match": "accuracy", "suite": "passages",
         "level": at, "n_seeds": 3, "n_items": 270, "diff_vs_full": value,
         "diff_vs_full_ci_low": value - 0.5, "diff_vs_full_ci_high": value + 0.5,
         "diff_vs_full_p_value": p if at == level else 1e-6}
        for at in (level, level - 0.2)
        for name, (value, p) in [*zip(NAMES, methods, strict=False), *controls]
    ]  # fmt: skip
    frame = pd.DataFrame(rows).astype({"diff_vs_full_ci_low": "Float64"})
    return {"forgetting_at_matched_fit": frame}


@pytest.mark.parametrize(
    ("methods", "outcome", "message"),
    [
        ([(-1, 0.01), (0.1, 0.6)], "supported", "1 of 2 methods forgot less than full"),
        ([(1, 0.01), (0.1, 0.6)], "contradicted", "0 of 2 methods forgot less than full fine-tuni"),
        ([(1, 0.01), (-1, 0.001)], "insufficient evidence", "1 of 2 methods forgot less"),
        ([(-1, 0.2)], "insufficient evidence", "lora a=1 at 80% -1.00 (-1.50 to -0.50)"),
        # Holm: 0.03 is significant alone, and not as the smallest of two
        ([(-1, 0.03)], "supported", "1 of 1 methods forgot less"),
        ([(-1, 0.03), (0.1, 0.6)], "insufficient evidence", "0 of 2 methods forgot less"),
    ],
)
def test_adjusted_p_values_at_the_highest_level_decide(methods, outcome, message):
    found, sentence, _ = forgetting.verdict(table(*methods))
    assert found == outcome
    assert message in sentence
    assert "over 3 seeds and 270 texts" in sentence


@pytest.mark.parametrize("control", forgetting.CONTROLS)
def test_a_control_is_shown_and_decides_nothing(control):
    found, sentence, _ = forgetting.verdict(table((0.1, 0.6), controls=[(control, (-1, 1e-6))]))
    assert found == "insufficient evidence"
    assert f"Controls, which don't count: {control} a=1 at 80% -1.00" in sentence
    found, _, _ = forgetting.verdict(table(controls=[(control, (-1, 1e-6))]))
    assert found == "not measured"


def test_the_untrained_model_and_prompts_without_training_are_no_methods():
    found, sentence, _ = forgetting.verdict(table((0.1, 0.6), controls=[("few_shot", (-1, 1e-6))]))
    assert found == "insufficient evidence"
    assert "few_shot" not in sentence


def test_methods_within_the_margin_are_counted():
    frame = table((0.0, 0.9), (0.0, 0.9))["forgetting_at_matched_fit"]
    narrow = frame["configuration"].str.startswith("lora")
    frame.loc[narrow, ["diff_vs_full_ci_low", "diff_vs_full_ci_high"]] = [-0.04, 0.04]
    _, sentence, _ = forgetting.verdict({"forgetting_at_matched_fit": frame})
    assert "1 within ±0.05 nats per token" in sentence


def test_five_equal_methods_are_rarely_told_apart():
    """Each differs from one full fine-tuning by noise: 24 % of verdicts without a correction."""
    rng = np.random.default_rng(0)
    scores, full = rng.normal(size=(4000, 5)), rng.normal(size=(4000, 1))
    differences = (scores - full) / 2**0.5
    p_values = 2 * norm.sf(np.abs(differences))
    assert (p_values.min(axis=1) <= 0.05).mean() > 0.15
    outcomes = [forgetting.decide(*one)[0] for one in zip(differences, p_values, strict=True)]
    assert 0.01 < np.mean([outcome != "insufficient evidence" for outcome in outcomes]) < 0.055


def test_a_table_whose_intervals_are_over_seeds_alone_is_measured_again():
    frame = table((1, 1e-6))["forgetting_at_matched_fit"].drop(columns="diff_vs_full_p_value")
    found, sentence, _ = forgetting.verdict({"forgetting_at_matched_fit": frame})
    assert found == "not measured"
    assert "measure it again" in sentence


def test_a_study_is_planned_for_the_margin():
    """Seeds alone: Student's t with a noncentrality of 0.05 / (0.05 / √n) at n seeds."""
    frame = table((0.0, 0.9))["forgetting_at_matched_fit"]
    noise = {"diff_vs_full_standard_error": 0.05 / 3**0.5, "diff_vs_full_degrees_of_freedom": 2.0}
    _, _, (one,) = forgetting.verdict({"forgetting_at_matched_fit": frame.assign(**noise)})
    assert one.what == "lora a=1 against full"
    n = one.required(0.025).seeds
    powers = [nct.cdf(t.ppf(0.025, k - 1), k - 1, -(k**0.5)) for k in (n - 1, n)]
    assert powers[0] < 0.8 <= powers[1]


def test_a_method_is_judged_where_it_ends():
    """One that learns less is compared at the highest accuracy that it has."""
    whole, part = (
        table((value, 0.5), level=level)["forgetting_at_matched_fit"]
        for value, level in ((1.5, 0.8), (2.5, 0.6))
    )
    rows = pd.concat([whole, part.assign(configuration="m1")])
    _, sentence, _ = forgetting.verdict({"forgetting_at_matched_fit": rows})
    assert "lora a=1 at 80% +1.50" in sentence
    assert "m1 at 60% +2.50" in sentence


def test_the_best_level_of_a_loss_is_the_lowest():
    frame = table((1.0, 0.01), level=1.2)["forgetting_at_matched_fit"]
    rows = frame.assign(match="loss", diff_vs_full=frame["level"])
    _, sentence, _ = forgetting.verdict({"forgetting_at_matched_fit": rows})
    assert "lora a=1 at a loss of 1.00 +1.00" in sentence


def test_one_seed_decides_nothing():
    rows = table((-1, 1e-6))["forgetting_at_matched_fit"].assign(n_seeds=1)
    found, sentence, _ = forgetting.verdict({"forgetting_at_matched_fit": rows})
    assert found == "insufficient evidence"
    assert "(one seed)" in sentence


def test_without_full_fine_tuning():
    rows = table((1, 0.5))["forgetting_at_matched_fit"].assign(diff_vs_full=None)
    found, _, _ = forgetting.verdict({"forgetting_at_matched_fit": rows})
    assert found == "not measured"


def test_runs_that_are_kept_near_their_base_are_no_methods():
    rows = table((-1, 1e-6))["forgetting_at_matched_fit"].assign(keep="kl")
    assert forgetting.verdict({"forgetting_at_matched_fit": rows})[0] == "not measured"
    rows = table((-1, 1e-6))["forgetting_at_matched_fit"].assign(keep=None)
    assert forgetting.verdict({"forgetting_at_matched_fit": rows})[0] == "supported"
