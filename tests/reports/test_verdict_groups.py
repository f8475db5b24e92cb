from types import SimpleNamespace

from peftlens import registry
from peftlens.claims import Verdict
from peftlens.reports.verdict_groups import (
    RELEVANCE,
    first_part,
    verdict_groups,
)


def study(name="mine", seeds=(0,)):
    runs = [SimpleNamespace(config=SimpleNamespace(seed=seed)) for seed in seeds]
    return SimpleNamespace(name=name, runs=runs, tables={})


def verdict(claim, outcome, sentence="One. Two."):
    needs = tuple(registry.describe("claims", claim).constants["NEEDS"])
    return Verdict(claim, "t", "s", needs, outcome, sentence)


def groups(*verdicts, one=None):
    return {
        one.outcome: [v.claim for v in one.verdicts]
        for one in verdict_groups(one or study(), verdicts)
    }


def test_groups_by_outcome_and_relevance_not_by_name():
    found = groups(
        verdict("attention_share", "supported"), verdict("footprint", "supported"),
        verdict("rank", "supported"), verdict("layers", "not measured"),
        verdict("memory", "contradicted"),
    )  # fmt: skip
    assert list(found) == ["contradicted", "supported", "not measured"]
    assert found["supported"] == ["rank", "footprint", "attention_share"]


def test_what_the_study_was_designed_for_is_first():
    both = (verdict("rank", "supported"), verdict("memory", "supported"))
    assert groups(*both)["supported"] == ["rank", "memory"]
    assert groups(*both, one=study("comparison"))["supported"] == ["memory", "rank"]


def test_a_decided_claim_says_what_to_do():
    one = Verdict("rank", "t", "s", ("rank_chart",), "supported", "One.", practice="Do so.")
    (group,) = verdict_groups(study(), [one])  # pyright: ignore
    assert group.verdicts[0].practice == "Do so."


def test_every_built_in_claim_has_a_place():
    needs = [
        registry.describe("claims", one).constants["NEEDS"] for one in registry.names("claims")
    ]
    assert all(set(one) & set(RELEVANCE) for one in needs)


def test_an_undecided_claim_says_what_would_decide_it():
    (group,) = verdict_groups(study(seeds=(0, 1)), [verdict("merge", "insufficient evidence")])  # pyright: ignore
    assert group.title == "Undecided"
    assert not group.is_decided
    assert group.verdicts[0].remedy == (
        "Train lora, and measure the probe latency; this study has 2 seeds."
    )
    (decided,) = verdict_groups(study(), [verdict("merge", "supported")])  # pyright: ignore
    assert decided.verdicts[0].remedy == ""


def test_a_claim_of_another_package_is_shown():
    foreign = Verdict("theirs", "t", "s", ("u",), "insufficient evidence", "x")
    (group,) = verdict_groups(study(), [foreign])  # pyright: ignore
    assert group.verdicts[0].remedy == "this study has 1 seed."


def test_long_sentences_are_cut_where_they_pause():
    assert first_part("Short. Text.") == "Short. Text."
    two = f"{'a' * 100}. {'b' * 300}."
    assert first_part(two) == f"{'a' * 100}."
    listed = f"Found: one ({'x, ' * 20}), two, {'y' * 300}"
    assert first_part(listed) == f"Found: one ({'x, ' * 20}), two …"
    assert first_part("z" * 400) == "z" * 400
    (group,) = verdict_groups(study(), [verdict("rank", "supported", two)])  # pyright: ignore
    assert (group.verdicts[0].sentence, group.verdicts[0].rest) == (f"{'a' * 100}.", two)
