from inspect import signature

import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from peftlens import registry
from peftlens.claims import (
    Evidence,
    FoundRuns,
    Verdict,
    by_half,
    by_seed,
    counted,
    difference_text,
    every_method,
    judge,
    mean_over_runs,
    trained_prompts,
)
from peftlens.errors import InputError
from peftlens.numerics.mixed_model import Estimate


def test_without_tables_nothing_is_measured():
    found = judge({})
    assert [verdict.claim for verdict in found] == registry.names("claims")
    assert {verdict.outcome for verdict in found} == {"not measured"}
    needs = {verdict.claim: verdict.sentence for verdict in found}
    assert "soft_prompt_null" in needs["clusters"]


def test_a_table_of_what_does_not_apply_is_not_measured():
    frame = pd.DataFrame([{"run": "r", "step": None, "status": "not_applicable"}])
    assert {v.outcome for v in judge({"soft_prompt_null": frame})} == {"not measured"}


@pytest.mark.parametrize(
    ("shares", "outcome"),
    [
        ([1.0] * 6, "supported"),
        ([0.0] * 6, "contradicted"),
        ([1.0] * 5, "insufficient evidence"),
        ([0.0, 1.0] * 5, "insufficient evidence"),
        ([0.4] * 6, "contradicted"),
    ],
)
def test_by_half(shares, outcome):
    found, message = by_half(pd.Series(shares), "it is so")
    assert found == outcome
    holds = sum(share > 0.5 for share in shares)
    assert message.startswith(f"In {holds} of {len(shares)} prompts it is so (95 % interval")


def test_by_half_at_another_level():
    assert by_half(pd.Series([1.0] * 6), "x", 0.015)[0] == "insufficient evidence"  # 1/64 > 0.015
    assert by_half(pd.Series([1.0] * 7), "x", 0.015)[0] == "supported"
    assert by_half(pd.Series([0.0] * 7), "x", 0.015)[0] == "contradicted"


def test_a_claim_without_a_level_counts_what_is_exact():
    claims = {name: registry.load("claims", name) for name in registry.names("claims")}
    exact = {n for n, one in claims.items() if "alpha" not in signature(one.verdict).parameters}
    assert exact == {"attention_share", "footprint", "tradeoff"}


def test_only_the_named_claims_are_judged():
    assert [one.claim for one in judge({}, names=["rank", "merge"])] == ["rank", "merge"]
    with pytest.raises(InputError, match="rank"):
        judge({}, names=["rnak"])


def test_the_interval_is_exact():
    assert by_half(pd.Series([0.0] * 9), "x")[1].endswith("0% to 34%).")  # 1 - 0.025^(1/9)


def test_only_the_last_step_counts_and_only_if_it_is_not_the_start():
    frame = pd.DataFrame({"run": ["a", "a", "b"], "step": [0, 9, 0], "x": [1, 2, 3]})
    assert trained_prompts(frame)["x"].tolist() == [2]


def test_every_claim_says_who_claims_it():
    for name in registry.names("claims"):
        claim = registry.load("claims", name)
        assert claim.__doc__.startswith(claim.CLAIM)
        assert "Rule: " in claim.__doc__
        assert any(character.isdigit() for character in claim.SOURCE)


def test_a_verdict_is_shown_in_a_notebook_as_it_is():
    one = Verdict("a", "A < B.", "s", ("t",), "supported", "<b>1</b>\u202e.")
    assert one._repr_html_() == (
        "<p><strong>Supported:</strong> <q>A &lt; B.</q> &lt;b&gt;1&lt;/b&gt;&lt;U+202E&gt;.</p>"
    )


def test_what_is_not_measured_says_what_would():
    for one in judge({}):
        assert one.outcome == "not measured"
        assert "To measure it, " in one.sentence


def test_how_many_seeds_and_examples():
    assert counted({"n_seeds": 1, "n_items": 300}) == "1 seed, 300 examples"
    assert counted({"n_seeds": 3, "n_items": 300}) == "3 seeds, 300 examples"


def test_a_difference_that_is_rounded_to_zero_is_not_negative():
    assert difference_text(Estimate(-0.0004)) == "+0.0 points"
    assert difference_text(Estimate(-0.02, -0.04, -0.0001)) == "-2.0 points, -4.0 to +0.0"


def found_runs(found, runs, power=0.8, chance=0.05):
    hits = pd.Series([number < found for number in range(runs)])
    return FoundRuns(hits, pd.Series([power] * runs, dtype=float), chance)


def test_found_runs_are_compared_with_chance_and_with_their_power():
    assert found_runs(6, 6).evidence() == Evidence(pytest.approx(0.05**6), 1.0)
    assert found_runs(0, 6).evidence() == Evidence(1.0, pytest.approx(0.2**6))
    one = found_runs(1, 6)
    assert one.evidence().holds == pytest.approx(1 - 0.95**6)
    assert one.evidence().fails == pytest.approx(0.2**6 + 6 * 0.8 * 0.2**5)
    assert str(one) == "1 of 6 runs, power 0.80"


def test_each_run_has_its_own_power():
    runs = FoundRuns(pd.Series([False] * 3), pd.Series([0.5, 0.4, 0.7]), 0.05)
    assert runs.evidence().fails == pytest.approx(0.5 * 0.6 * 0.3)


def test_one_run_is_no_evidence_however_large_its_power_seems():
    assert found_runs(0, 1, power=1.0).evidence().fails == pytest.approx(0.2)


def test_without_power_nothing_found_shows_nothing():
    assert found_runs(0, 6, power=0.1).evidence().fails == pytest.approx(0.9**6)
    assert found_runs(0, 100, power=float("nan")).evidence().fails == 1


def test_more_finds_than_by_chance_are_no_evidence_against():
    # 2 of 6 and 3 of 20: by far fewer than 0.8; p = 0.033 and 0.075 against one in twenty
    for found, runs in ((2, 6), (3, 20)):
        assert found_runs(found, runs).evidence().fails == 1
    assert found_runs(2, 20).evidence().fails < 1e-9


YES, NO, UNKNOWN = Evidence(1e-6, 1.0), Evidence(1.0, 1e-6), Evidence(0.3, 0.3)


@pytest.mark.parametrize(
    ("evidence", "least", "outcome", "message"),
    [
        ({"a": YES, "b": YES}, 2, "supported", "yes for a (A), b (B)"),
        ({"a": YES}, 1, "supported", "yes for a (A)"),
        ({"a": YES}, 2, "insufficient evidence", "yes for a (A)"),
        ({"a": YES, "b": NO}, 1, "contradicted", "yes for a (A); no for b (B)"),
        ({"a": YES, "b": UNKNOWN}, 1, "insufficient evidence", "yes for a (A); undecided for b (B"),
        ({"a": UNKNOWN, "b": NO}, 1, "contradicted", "no for b (B); undecided for a (A)"),
        # significant alone, and not as the smallest of two
        ({"a": Evidence(0.02, 1)}, 1, "supported", "yes"),
        ({"a": Evidence(0.02, 1), "b": YES}, 1, "supported", "yes"),
        ({"a": Evidence(0.02, 1), "b": UNKNOWN}, 1, "insufficient evidence", "undecided for a (A)"),
        ({"a": Evidence(1, 0.02), "b": UNKNOWN}, 1, "insufficient evidence", "undecided for a (A)"),
    ],
)
def test_every_method(evidence, least, outcome, message):
    found, shown = every_method(evidence, {"a": "A", "b": "B"}, least)
    assert found == outcome
    assert shown.startswith(message)


def test_a_mean_over_runs_has_the_interval_of_students_t():
    values = [0.1, 0.2, 0.4, 0.3]
    found, expected = mean_over_runs(values), ttest_1samp(values, 0.15)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p_above(0.15) == pytest.approx(expected.pvalue / 2)


def test_two_runs_decide_nothing():
    found = mean_over_runs([5.0, 5.0])
    assert (found.low, found.p_above(0), found.p_below(9)) == (None, 1, 1)


def test_configurations_of_one_seed_are_one_piece_of_evidence():
    rows = pd.DataFrame(
        {"run": ["a", "a", "b", "c", "d"], "seed": [0, 0, 0, 1, 0], "study": [*"sssst"]}
    )
    values = pd.Series([1.0, 0.0, 4.0, 7.0], index=[*"abcd"])
    assert by_seed(values, rows).to_dict() == {("s", 0): 0.5, ("s", 1): 4.0, ("t", 0): 7.0}
    assert by_seed(values, rows.drop(columns="study")).to_dict() == {0: 8 / 3, 1: 4.0}
