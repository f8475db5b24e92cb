import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from peftlens import registry
from peftlens.claims import framed_prompts
from peftlens.numerics.mixed_model import Estimate, crossed_estimate
from peftlens.results.table import IDENTITY

FRAMED, PLAIN = "framed_prompt_tuning", "prompt_tuning"
TASKS = ("news", "mood")


def configurations(**changed):
    """A framed and a plain configuration for each task, equal in what both have."""
    rows = [
        {"configuration": method, "sweep": method, "method": method, "task": task,
         "num_virtual_tokens": 20, "max_steps": 160,
         "framed_share": 0.5 if method == FRAMED else None,
         "init": "vocabulary" if method == PLAIN else None,
         "anchor_weight": 0.0 if method == PLAIN else None}
        for method in (FRAMED, PLAIN) for task in TASKS
    ]  # fmt: skip
    frame = pd.DataFrame(rows).convert_dtypes()
    frame = frame.astype({"anchor_weight": "Float64", "framed_share": "Float64"})
    for name, value in changed.items():
        frame.loc[frame["method"] == PLAIN, name] = value
    return frame


def table(says=2.0, cost=0.0, *, power=0.9, seeds=3, spread=0.1, items=300):
    """What framed prompts say beyond plain ones, and the share of examples that they lose."""
    prompts, scores = [], []
    for method in (FRAMED, PLAIN):
        for task in TASKS:
            for seed in range(seeds):
                run = f"{method} {task} {seed}"
                standardized = (says + spread * (seed - 1)) if method == FRAMED else 0.0
                prompts += [
                    {"run": run, "configuration": method, "method": method, "seed": seed,
                     "words": words, "task": words_of, "own": words_of == task,
                     "standardized": standardized if words_of == task else None,
                     "q": 0.01 if method == FRAMED else 0.6, "power_at_0.25": power}
                    for words in ("stated", "typical") for words_of in TASKS
                ]  # fmt: skip
                right = np.arange(items) >= (items // 4 + (cost * items if method == FRAMED else 0))
                scores += [
                    {"run": run, "item": item, "chosen": 1 if one else 0, "correct": 1,
                     "score": float(one)}
                    for item, one in enumerate(right)
                ]  # fmt: skip
    return {
        "prompt_elicitation": pd.DataFrame(prompts).convert_dtypes(),
        "task_items": pd.DataFrame(scores).convert_dtypes(),
        "configurations": configurations(),
    }


@pytest.mark.parametrize(
    ("changed", "outcome", "message"),
    [
        ({}, "supported", "differs by +2.00 (+1.91 to +2.09) standard deviations"),
        ({"says": 0.0}, "contradicted", "differs by +0.00"),
        ({"says": 0.0, "power": 0.7}, "insufficient evidence", "power 0.70"),
        ({"says": -1.0, "power": 0.7}, "contradicted", "differs by -1.00"),  # it says less
        ({"cost": 0.1}, "contradicted", "accuracy by -10.0 points"),
        ({"cost": 0.02}, "insufficient evidence", "accuracy by -2.0 points"),
        (
            {"spread": 9.0},
            "insufficient evidence",
            "(found in 6 against 0 of 6 prompts, power 0.90",
        ),
        ({"seeds": 1}, "insufficient evidence", "differs by +1.90 standard deviations"),
    ],
)
def test_every_outcome(changed, outcome, message):
    found, sentence, _ = framed_prompts.verdict(table(**changed))
    assert found == outcome
    assert message in sentence


@pytest.mark.parametrize(
    "changed",
    [{"num_virtual_tokens": 10}, {"max_steps": 80}, {"init": "text"}, {"anchor_weight": 0.1}],
)
def test_only_prompts_alike_are_compared(changed):
    tables = table() | {"configurations": configurations(**changed)}
    outcome, sentence, _ = framed_prompts.verdict(tables)
    assert outcome == "not measured"
    assert "alike in all else" in sentence


def test_unframed_framed_prompts_are_no_framed_ones():
    tables = table()
    tables["configurations"]["framed_share"] *= 0
    assert framed_prompts.verdict(tables)[0] == "not measured"


def test_runs_without_scores_are_not_measured():
    tables = table()
    tables["task_items"] = tables["task_items"].iloc[:300]
    assert framed_prompts.verdict(tables)[0] == "not measured"


def test_evidence_is_students_t_over_pairs():
    tables = table(spread=1.0)
    pairs = framed_prompts._pairs(
        framed_prompts._prompts(tables["prompt_elicitation"]), FRAMED, PLAIN
    )
    gaps = pairs["says"] - pairs["says_plain"]
    assert sorted(gaps) == [1, 1, 2, 2, 3, 3]
    found = framed_prompts._evidence(framed_prompts.mean_over_runs(gaps), Estimate(0.0), pairs)
    assert found.holds == 1  # no interval of the cost
    assert found.fails == pytest.approx(
        min(1, ttest_1samp(gaps, 1.0, alternative="less").pvalue * 2)
    )


def test_the_mean_over_tasks_has_the_error_of_independent_means():
    one, other = (
        crossed_estimate(np.random.default_rng(seed).normal(size=(3, 50))) for seed in (0, 1)
    )
    mean = framed_prompts.mean_over_tasks([one, other])
    assert mean.value == pytest.approx((one.value + other.value) / 2)
    assert mean.standard_error == pytest.approx(
        np.hypot(one.standard_error, other.standard_error) / 2
    )
    assert mean.degrees_of_freedom > max(one.degrees_of_freedom, other.degrees_of_freedom) * 0.9
    single = framed_prompts.mean_over_tasks([one])
    assert (single.low, single.high) == pytest.approx((one.low, one.high))


@pytest.mark.parametrize("probe", ["prompt_elicitation", "task_items"])
def test_the_probes_have_these_columns(probe):
    columns = (*IDENTITY, *registry.load("probes", probe).COLUMNS)
    assert {*table(items=4)[probe]} <= {column.name for column in columns}


def test_unknown_power_shows_nothing():
    tables = table(says=0.0)
    rows = tables["prompt_elicitation"]
    rows.loc[rows["run"] == f"{PLAIN} news 0", "power_at_0.25"] = None
    outcome, sentence, _ = framed_prompts.verdict(tables)
    assert outcome == "insufficient evidence"
    assert "power nan" in sentence
