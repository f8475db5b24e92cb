"""Studies until their claims are decided: few false decisions, no bias, fewer runs."""

import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from peftlens.studies.decisions import Decisions

ROOT = Path(__file__).parent.parent


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "analyses"))
    return importlib.import_module("simulated_sequential")


def published(script, name):
    return pd.read_csv(script.FOLDER / f"{name}.csv")


def test_six_looks_err_no_more_often_than_one_should(script):
    """Again with 200 studies: at 5 % more than 18 of them err once in a hundred times."""
    rng, decisions = np.random.default_rng(3), Decisions(looks=6)
    values = [script.differences(rng, 0.0, 0.01, 13, 100) for _ in range(200)]
    spent = [script.decided_at(one, decisions)[0] for one in values]
    unspent = [script.decided_at(one, decisions, spends=False)[0] for one in values]
    assert np.count_nonzero(spent) <= 18
    assert np.count_nonzero(unspent) > 18  # as without alpha spending


def test_published_errors_of_up_to_six_looks(script):
    table = published(script, "sequential_errors")
    several = table[table["looks"] > 1]
    assert (table["studies"] == 1000).all()
    assert len(several) == 12
    assert (several["false_decisions"] <= 0.05).all()
    assert (several["false_decisions_at_the_whole_level"] > 0.075).all()


def test_the_chosen_rate_is_scored_without_bias_on_fresh_seeds_only(script):
    rows = published(script, "selection_bias").to_dict("records")
    for row in (*script.selection_bias(400), *rows):
        noise = 3 * row["standard_error_points"]
        assert abs(row["bias_on_fresh_seeds_points"]) < noise
        assert row["bias_on_the_same_seeds_points"] > 2 * noise > 0


def test_half_the_runs_of_the_fixed_design_or_fewer(script):
    table = published(script, "sequential_sizes")
    assert (table["ratio"] >= 2).all()
    assert (table[table["effect_points"] > 0]["power"] >= 0.8).all()
    # runs of both configurations, and of the race on two seeds
    expected = 2 * table["mean_seeds"] + 2 * 2 * script.RACE
    assert table["runs"].to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-3)
    assert table["fixed_runs"].tolist() == (2 * script.RATES * table["fixed_seeds"]).tolist()


def test_a_large_difference_is_seen_at_an_early_look(script):
    values = script.differences(np.random.default_rng(0), 0.3, 0.0, 13, 100)
    outcome, seeds = script.decided_at(values, Decisions())
    assert (outcome, script.decided_at(-values, Decisions())) == (1, (-1, seeds))
    assert seeds < 13


def test_the_page_has_the_published_numbers(script):
    page = (ROOT / "docs" / "until_decided.md").read_text()
    for row in published(script, "selection_bias").itertuples():
        bias = f"{row.bias_on_the_same_seeds_points:+.2f} | {row.bias_on_fresh_seeds_points:+.2f}"
        assert f"| {row.rates} | {row.seeds} | {row.seed_sd_points} | {bias} |" in page
    errors = published(script, "sequential_errors")
    for row in errors[errors["looks"] == 6].itertuples():
        rates = (row.false_decisions, row.false_decisions_at_the_whole_level)
        shares = " | ".join(f"{100 * rate:.1f} %" for rate in rates)
        assert f"| {row.seed_sd_points:g} | {row.items} | {shares} |" in page
    for row in published(script, "sequential_sizes").itertuples():
        runs = f"{row.runs:.0f} | {row.fixed_runs} | {row.fixed_runs_after_a_race:.0f}"
        noise = f"{row.effect_points:g} | {row.seed_sd_points:g} | {row.power:.2f}"
        assert f"| {noise} | {runs} |" in page
