import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from peftlens.claims import update_directions


def table(*groups):
    """Groups of runs: method, the excess of each over the 4 % of random directions; power."""
    rows = [
        {"run": f"{method}{number}", "method": method, "side": side, "p": 0.2,
         "found": 0.04 + excess, "found_random": 0.04, "power_at_0.8": power}
        for method, excesses, power in groups
        for number, excess in enumerate(excesses)
        for side in ("reads", "writes")
    ]  # fmt: skip
    return {"update_directions": pd.DataFrame(rows)}


HIGH, LOW, WIDE = [0.3, 0.32, 0.28, 0.35, 0.3], [0.0, 0.01, -0.01, 0.02, 0.0], [0.0, 0.3, 0.1]


@pytest.mark.parametrize(
    ("groups", "outcome", "message"),
    [
        ([("lora", HIGH, 0.5)], "supported", "yes for lora (+31.0 points, "),
        ([("lora", HIGH, 0.9), ("full", HIGH, 0.9)], "supported", "yes for lora"),
        ([("lora", LOW, 0.9)], "contradicted", "no for lora (+0.4 points"),
        ([("lora", LOW, 0.7)], "insufficient evidence", "undecided for lora"),
        ([("lora", LOW, None)], "insufficient evidence", "power nan"),
        ([("lora", HIGH, 0.9), ("ia3", LOW, 0.9)], "contradicted", "no for ia3"),
        ([("lora", WIDE, 0.9)], "insufficient evidence", "undecided for lora (+13.3 points"),
        ([("lora", HIGH[:2], 0.9)], "insufficient evidence", "(+31.0 points, 2 runs, power 0.90)"),
    ],
)
def test_every_outcome(groups, outcome, message):
    found, sentence = update_directions.verdict(table(*groups))
    assert found == outcome
    assert message in sentence
    assert "4.0% of these" in sentence


def test_a_side_counts_by_its_directions():
    """Three lists of 4 % and one of 44 %, minus 4 %, are 10 points."""
    rows = pd.concat(
        [table(("lora", [excess] * 3, 0.9))["update_directions"][lambda t: t["side"] == "reads"]
         for excess in (0.0, 0.0, 0.0, 0.4)]
    )  # fmt: skip
    assert "+10.0 points" in update_directions.verdict({"update_directions": rows})[1]


def test_the_evidence_is_students_t_over_runs():
    rows = table(("lora", HIGH, 0.9))["update_directions"]
    evidence, _ = update_directions._method(rows)
    assert evidence.holds == pytest.approx(ttest_1samp(HIGH, 0.05).pvalue / 2)


def test_without_a_training_text_nothing_is_measured():
    rows = table(("lora", HIGH, 0.9))["update_directions"].assign(p=None, found_random=None)
    assert update_directions.verdict({"update_directions": rows})[0] == "not measured"
