from inspect import signature

import pandas as pd
import pytest

from peftlens import registry
from peftlens.claims import Verdict, by_half, counted, difference_text, judge, trained_prompts
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


def test_every_decided_claim_has_its_advice():
    for name in registry.names("claims"):
        advice = registry.load("claims", name).PRACTICE
        assert [*advice] == ["supported", "contradicted"]
        assert all(one[0].isupper() and one[-1] == "." for one in advice.values()), name


def test_every_claim_says_when_it_holds():
    for name in registry.names("claims"):
        clause = registry.load("claims", name).CRITERION
        assert clause[-1] != ".", name
        assert "- " not in clause, name
        assert judge({}, names=[name])[0].criterion == clause


def test_a_verdict_has_the_advice_of_its_outcome():
    counts = [("full", "full", 100, 1000), ("lora", "lora", 10, 10)]
    columns = ["configuration", "method", "trainable_parameters", "adapter_bytes"]
    tables = {"parameter_count": pd.DataFrame(counts, columns=columns)}
    (found,) = judge(tables, names=["footprint"])
    assert found.outcome == "supported"
    assert found.practice == registry.load("claims", "footprint").PRACTICE["supported"]
    assert judge({}, names=["footprint"])[0].practice == ""


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
    found, message, _ = by_half(pd.Series(shares), "it is so")
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
