import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from peftlens.results.run_evidence import (
    Evidence,
    FoundRuns,
    by_seed,
    every_method,
    mean_over_runs,
)


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
