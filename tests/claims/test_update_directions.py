from itertools import count

import numpy as np
import pandas as pd
import pytest
from scipy.stats import nct, t, ttest_1samp

from peftlens import registry
from peftlens.claims import judge, update_directions
from peftlens.results.table import IDENTITY


def table(*groups):
    """Groups of runs: method, the excess of each over the 4 % of random directions; power.

    Only directions that weights read are found; all have the power.
    """
    rows = [
        {"run": f"{method}{number}", "seed": number, "method": method, "side": side, "p": 0.2,
         "found": 0.04 + (excess if side == "reads" else 0), "found_random": 0.04,
         "power_at_0.8": power}
        for method, excesses, power in groups
        for number, excess in enumerate(excesses)
        for side in ("reads", "writes", "writes")
    ]  # fmt: skip
    return {"update_directions": pd.DataFrame(rows).convert_dtypes()}


HIGH, LOW, WIDE = [0.3, 0.32, 0.28, 0.35, 0.3], [0.0, 0.01, -0.01, 0.02, 0.0], [0.0, 0.3, 0.1]


@pytest.mark.parametrize(
    ("groups", "outcome", "message"),
    [
        (
            [("lora", HIGH, 0.5)],
            "supported",
            "yes for lora (reads +31.0 points, +27.7 to +34.3",
        ),
        ([("lora", HIGH, 0.9), ("full", HIGH, 0.9)], "supported", "yes for lora"),
        ([("lora", LOW, 0.9)], "contradicted", "no for lora (reads +0.4 points"),
        ([("lora", LOW, 0.7)], "insufficient evidence", "in 0 of 10 runs and sides"),
        ([("lora", LOW, None)], "insufficient evidence", "undecided for lora"),
        ([("lora", HIGH, 0.9), ("ia3", LOW, 0.9)], "contradicted", "no for ia3"),
        ([("lora", WIDE, 0.9)], "insufficient evidence", "undecided for lora (reads +13.3 points"),
        ([("lora", HIGH[:2], 0.9)], "insufficient evidence", "(reads +31.0 points; writes"),
    ],
)
def test_every_outcome(groups, outcome, message):
    found, sentence, _ = update_directions.verdict(table(*groups))
    assert found == outcome
    assert message in sentence
    assert "4.0% of these" in sentence


def test_a_side_without_power_leaves_it_undecided():
    tables = table(("lora", LOW, 0.9))
    rows = tables["update_directions"]
    rows.loc[rows["side"] == "writes", "power_at_0.8"] = 0.1
    found, sentence, _ = update_directions.verdict(tables)
    assert found == "insufficient evidence"  # what is written may say it
    assert "in 5 of 10 runs and sides" in sentence
    few = rows[rows["run"].isin(["lora0", "lora1"]) | (rows["side"] == "writes")]
    assert update_directions.verdict({"update_directions": few})[0] == "insufficient evidence"


def test_a_side_with_more_than_chance_is_no_evidence_against():
    rows = table(("lora", HIGH, 0.9))["update_directions"]
    means = {side: update_directions._mean_excess(one) for side, one in rows.groupby("side")}
    evidence = update_directions._evidence(rows, means)
    assert evidence.holds == pytest.approx(ttest_1samp(HIGH, 0.05).pvalue)  # of two sides
    assert evidence.fails > 0.9


def size(*groups):
    verdict = judge(table(*groups), names=["update_directions"])[0]
    assert verdict.outcome == "insufficient evidence"
    return verdict.sentence.partition("runs and sides. ")[2]


def test_the_number_of_runs_that_would_decide():
    # a t test of runs whose true mean lies 5 points above the margin, by the noncentral t
    effect = 0.05 / np.std(WIDE, ddof=1)
    enough = (n for n in count(3) if nct.sf(t.isf(0.025, n - 1), n - 1, effect * np.sqrt(n)) >= 0.8)
    assert size(("lora", WIDE, 0.9)) == f"With power 0.8, about {next(enough)} runs would decide."
    assert size(("lora", WIDE, 0.9), ("ia3", LOW, 0.1)) == (
        "More runs do not decide ia3, for lack of this power."
    )


def test_without_a_training_text_nothing_is_measured():
    rows = table(("lora", HIGH, 0.9))["update_directions"].assign(p=None, found_random=None)
    assert update_directions.verdict({"update_directions": rows})[0] == "not measured"


def test_the_probe_has_these_columns():
    columns = (*IDENTITY, *registry.load("probes", "update_directions").COLUMNS)
    rows = table(("lora", HIGH, 0.9))["update_directions"]
    assert {*rows} <= {column.name for column in columns}
