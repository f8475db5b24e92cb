import pytest
from pydantic import ValidationError

from peftlens.studies.decisions import Decisions, budget_seconds


@pytest.mark.parametrize(
    ("text", "seconds"), [("6h", 21600), ("90m", 5400), ("1.5h", 5400), ("1h30m", 5400)]
)
def test_a_budget_in_seconds(text, seconds):
    assert budget_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "6", "h", "6 hours", "0h", "-1h", "30m1h"])
def test_what_is_no_budget(text):
    with pytest.raises(ValueError, match="write it as 6h, 90m or 1h30m"):
        budget_seconds(text)
    with pytest.raises(ValidationError, match="is no time"):
        Decisions(budget=text)


def test_every_look_adds_seeds_to_those_of_the_look_before():
    decisions = Decisions(first_seeds=3, seeds_per_look=2, looks=3)
    assert decisions.confirmation_seeds(1, 5) == [5, 6, 7]
    assert decisions.confirmation_seeds(3, 5) == [5, 6, 7, 8, 9, 10, 11]


@pytest.mark.parametrize("first", [0, 999_990, 999_999, 1_000_000, 1_000_001, 1_000_002])
def test_no_seed_of_the_race_is_one_of_the_confirmation(first):
    decisions = Decisions(selection_seeds=2)
    race = decisions.race_seeds(first)
    assert len(race) == 2
    assert not {*race} & {*decisions.confirmation_seeds(decisions.looks, first)}


def test_a_claim_that_is_named_twice():
    with pytest.raises(ValidationError, match="claim rank is named twice"):
        Decisions(claims=("rank", "swap", "rank"))
