import numpy as np
import pytest
from scipy.stats import t, ttest_1samp
from step_costs import costs

from peftlens.results.cost_ratio import Ratio, points, simultaneous

TIME = "step_seconds"


def point(**options):
    settings = {"full": {TIME: 3.0}, "lora": {}, "ia3": {TIME: lambda tokens: tokens / 128}}
    return next(points(costs(settings, **options)))


def test_a_ratio_is_a_paired_geometric_mean_with_student_s_interval():
    found = point(spread=0.05).ratio("full", "lora", TIME)
    # logarithms log 3 + (0.05, 0, -0.05): standard deviation 0.05, two degrees of freedom
    half = t.ppf(0.975, 2) * 0.05 / np.sqrt(3)
    assert found.value == pytest.approx(3.0)
    assert np.log([found.low, found.high]) == pytest.approx([np.log(3) - half, np.log(3) + half])
    logs = np.log(3) + np.array([0.05, 0, -0.05])
    ends = ttest_1samp(logs, 0).confidence_interval(0.9)
    narrow = point(spread=0.05).ratio("full", "lora", TIME, 0.9)
    assert np.log([narrow.low, narrow.high]) == pytest.approx(list(ends))


def test_noise_that_a_round_shares_is_no_difference():
    found = point(spread=0.2).ratio("lora", "ia3", TIME)  # both have the same noise
    assert (found.low, found.high) == pytest.approx((1, 1))


@pytest.mark.parametrize(
    ("spread", "control", "disturbed"),
    [
        (0.01, 1.0, False),
        (0.0, 1.005, False),  # excludes 1 by half a percent, which changes no decision
        (0.001, 1.1, True),  # excludes 1
        (0.05, 1.0, True),  # 1.28 times from one end to the other
    ],
)
def test_a_machine_is_disturbed_where_two_copies_differ(spread, control, disturbed):
    assert point(spread=spread, control=control).disturbed(TIME) is disturbed


def test_without_a_control_nobody_knows():
    frame = costs({"full": {}, "lora": {}})
    assert next(points(frame[~frame["control"]])).disturbed(TIME)


def test_one_round_has_no_interval():
    frame = costs({"full": {}, "lora": {}})
    assert next(points(frame[frame["round"] == 1])).ratio("full", "lora", TIME) is None
    assert point().ratio("full", "absent", TIME) is None


def test_what_could_not_be_measured_is_left_out():
    frame = costs({"full": {}})
    frame["flops"] = frame["flops"].where(frame["length"] == 16)
    assert [found.tokens for found in points(frame)] == [128]


def test_equal_and_different_are_by_the_margin_and_neither_by_an_interval_across_it():
    assert Ratio(1.0, 0.9, 1.1, 3).is_equal
    assert Ratio(1.3, 1.25, 1.4, 3).is_different
    across = Ratio(1.1, 1.0, 1.3, 3)
    assert not across.is_equal
    assert not across.is_different


def test_simultaneous_intervals_share_five_percent():
    assert simultaneous(1) == pytest.approx(0.95)
    assert simultaneous(4) == pytest.approx(0.9875)
