import pandas as pd
import pytest

from peftlens.claims import forgetting


def table(*intervals, level=0.8):
    return {
        "forgetting_at_matched_fit": pd.DataFrame(
            [
                {"configuration": f"m{n}", "suite": "wiki", "level": at, "n_seeds": 3,
                 "diff_vs_full": (low + high) / 2 if at == level else 9.0,
                 "diff_vs_full_ci_low": low if at == level else 8.0,
                 "diff_vs_full_ci_high": high if at == level else 10.0}
                for at in (level, level - 0.2) for n, (low, high) in enumerate(intervals)
            ]
        ).astype({"diff_vs_full_ci_low": "Float64"})
    }  # fmt: skip


@pytest.mark.parametrize(
    ("intervals", "outcome", "message"),
    [
        ([(-2, -1), (-1, 1)], "supported", "1 of 2 methods forgot less than full"),
        (
            [(1, 2), (-1, 1)],
            "contradicted",
            "0 of 2 methods forgot less than full fine-tuning and 1",
        ),
        ([(1, 2), (-2, -1)], "insufficient evidence", "m0 at 80% +1.50 (+1.00 to +2.00)"),
        ([(-1, 1)], "insufficient evidence", "m0 at 80% +0.00"),
    ],
)
def test_intervals_at_the_highest_level_decide(intervals, outcome, message):
    found, sentence = forgetting.verdict(table(*intervals))
    assert found == outcome
    assert message in sentence


def test_a_method_is_judged_where_it_ends():
    """One that learns less is compared at the highest accuracy that it has."""
    whole, part = (
        table((low, low + 1), level=level)["forgetting_at_matched_fit"]
        for low, level in ((1, 0.8), (2, 0.6))
    )
    rows = pd.concat([whole, part.assign(configuration="m1")])
    _, sentence = forgetting.verdict({"forgetting_at_matched_fit": rows})
    assert "m0 at 80% +1.50" in sentence
    assert "m1 at 60% +2.50" in sentence


def test_one_seed_decides_nothing():
    rows = table((0, 0))["forgetting_at_matched_fit"]
    rows = rows.assign(n_seeds=1, diff_vs_full_ci_low=None, diff_vs_full_ci_high=None)
    found, sentence = forgetting.verdict({"forgetting_at_matched_fit": rows})
    assert found == "insufficient evidence"
    assert "(one seed)" in sentence


def test_without_full_fine_tuning():
    rows = table((1, 2))["forgetting_at_matched_fit"].assign(diff_vs_full=None)
    found, _ = forgetting.verdict({"forgetting_at_matched_fit": rows})
    assert found == "not measured"
