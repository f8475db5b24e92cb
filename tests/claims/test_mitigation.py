import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from peftlens.claims import judge, mitigation
from peftlens.numerics.mixed_model import Estimate
from peftlens.results.comparisons import Comparison


def tables(*comparisons, n_seeds=3):
    """Comparisons (kind, method, difference of forgetting, its p, difference of accuracy)."""
    forgetting, accuracy = [], []
    for kind, method, value, p, points in comparisons:
        name = f"{method} keep={kind}"
        shared = {
            "configuration": name, "method": method, "keep": kind, "plain": method,
            "match": "accuracy", "suite": "passages", "n_seeds": n_seeds, "n_items": 270,
        }  # fmt: skip
        forgetting += [
            shared | {"level": level, "diff_vs_plain": value,
                      "diff_vs_plain_ci_low": value - 0.1, "diff_vs_plain_ci_high": value + 0.1,
                      "diff_vs_plain_p_value": p if level == 0.8 or pd.isna(value) else 1e-9}
            for level in (0.6, 0.8)
        ]  # fmt: skip
        half = t.ppf(0.975, 8) * 0.005
        accuracy.append(
            {"configuration": name, "other": method, "difference": points / 100,
             "difference_ci_low": points / 100 - half, "difference_ci_high": points / 100 + half,
             "standard_error": 0.005, "degrees_of_freedom": 8.0, "n_seeds": n_seeds,
             "n_items": 300}
        )  # fmt: skip
    forgetting.append({"configuration": "lora", "method": "lora", "suite": "passages",
                       "match": "accuracy", "level": 0.8})  # fmt: skip
    return {
        "forgetting_at_matched_fit": pd.DataFrame(forgetting),
        "paired_accuracy": pd.DataFrame(accuracy),
    }


LESS, SAME, MORE = (-1.0, 1e-4), (-0.1, 0.4), (1.0, 1e-4)
NONE = (float("nan"), float("nan"))  # no fit that both reach


@pytest.mark.parametrize(
    ("comparisons", "outcome", "message"),
    [
        ([("kl", "lora", *LESS, 0)], "supported", "yes for kl (lora at 80% -1.00 nats per token"),
        # one kind suffices, and it has to hold for every method
        ([("kl", "lora", *LESS, 0), ("l2sp", "lora", *MORE, 0)], "supported", "no for l2sp (lora"),
        ([("kl", "lora", *LESS, 0), ("kl", "full", *SAME, 0)], "insufficient evidence",
         "undecided for kl (lora at 80%"),
        ([("kl", "lora", *MORE, 0)], "contradicted", "no for kl"),
        # less forgotten, at a cost of eight points
        ([("kl", "lora", *LESS, -8)], "contradicted", "accuracy -8.0 points, -9.2 to -6.8"),
        # the cost may be more than two points, or less
        # full fine-tuning never learns enough to be compared, and loses; or that is open
        ([("kl", "lora", *LESS, 0), ("kl", "full", *NONE, -40)], "contradicted",
         "no for kl (lora at 80% -1.00 nats per token, -1.10 to -0.90, accuracy +0.0 points"),
        ([("kl", "lora", *LESS, 0), ("kl", "full", *NONE, -2)], "insufficient evidence",
         "full at no fit that both reach, accuracy -2.0 points"),
        ([("kl", "lora", *LESS, -2)], "insufficient evidence", "undecided for kl"),
        ([("kl", "lora", *SAME, 0)], "insufficient evidence", "undecided for kl"),
        # Holm: 0.03 two-sided is significant alone, and not as the smallest of two
        ([("kl", "lora", -1.0, 0.03, 5)], "supported", "yes for kl"),
        ([("kl", "lora", -1.0, 0.03, 5), ("ewc", "lora", *SAME, 5)], "insufficient evidence", "un"),
    ],
)  # fmt: skip
def test_each_kind_is_judged_by_all_its_methods(comparisons, outcome, message):
    found, sentence, _ = mitigation.verdict(tables(*comparisons))
    assert found == outcome
    assert message in sentence
    assert "over 3 seeds and 270 texts" in sentence


def test_one_seed_decides_nothing():
    found, sentence, _ = mitigation.verdict(tables(("kl", "lora", *LESS, 0), n_seeds=1))
    assert found == "insufficient evidence"
    assert "1 seed and" in sentence


def test_without_a_comparison_nothing_is_measured():
    frames = tables(("kl", "lora", float("nan"), None, 0))
    assert mitigation.verdict(frames)[0] == "not measured"
    frames["forgetting_at_matched_fit"] = frames["forgetting_at_matched_fit"].drop(columns="keep")
    assert mitigation.verdict(frames)[0] == "not measured"
    frames = tables(("orthogonal", "lora", *LESS, 0))
    assert mitigation.verdict(frames)[0] == "not measured"
    (found,) = [one for one in judge({}) if one.claim == "mitigation"]
    assert "To measure it, train methods with and without training.keep" in found.sentence


def test_kinds_without_an_effect_are_rarely_told_apart():
    """Ten comparisons of pure noise: in at most one of twenty studies one of them is decided."""
    rng, decided = np.random.default_rng(0), []
    for _ in range(300):
        comparisons = []
        for _ in range(10):
            z = rng.standard_normal()
            p = 2 * t.sf(abs(z), 1e6)
            row = {"diff_vs_plain": z, "diff_vs_plain_p_value": p, "n_seeds": 3}
            noise = Estimate(rng.normal(-0.02, 0.005), standard_error=0.005, degrees_of_freedom=1e6)
            accuracy = Comparison(what="", estimate=noise, low=-0.02, n_seeds=3)
            comparisons.append(mitigation._evidence(row, accuracy))
        holds, fails = mitigation.decide(comparisons)
        decided.append((any(holds), any(fails)))
    wrong_holds, wrong_fails = np.mean(decided, axis=0)
    assert wrong_holds < 0.025
    assert 0 < wrong_fails < 0.06
