"""Section on how verdicts were reached, from tables by hand."""

import json
from types import SimpleNamespace

import pandas as pd
import pytest

from peftlens.claims import Verdict
from peftlens.io import html
from peftlens.reports.decisions import decisions_section, reached
from peftlens.results import sequential


def look(number, claim, outcome, n_seeds, n_runs):
    return {
        "look": number, "level": 0.004 * number, "n_seeds": n_seeds, "seeds": f"0 to {n_seeds - 1}",
        "claim": claim, "outcome": outcome, "sentence": f"It is {outcome}.", "n_runs": n_runs,
        "hours": n_runs / 10,
    }  # fmt: skip


@pytest.fixture
def results(tmp_path):
    """Two configurations, one of them raced at three rates, after two looks."""
    (tmp_path / "decisions.json").write_text(json.dumps({"looks": 6, "alpha": 0.05}))
    scores = {"n_seeds": 2, "validation_accuracy": 0.5, "validation_loss": 1.0}
    rungs = [
        scores | {"configuration": "lora", "name_in_results": "lora", "learning_rate": rate,
                  "share_of_steps": share,
                  "kept": share < 1}
        for rate, share in ((1e-4, 0.25), (1e-3, 0.25), (1e-3, 1.0), (1e-2, 0.25), (1e-2, 1.0))
    ]  # fmt: skip
    rate = scores | {
        "configuration": "lora", "learning_rate": 1e-2, "n_learning_rates": 3, "lowest": 1e-4,
        "highest": 1e-2, "at_edge": True, "loss_decrease": 0.0, "still_falling": False,
    }  # fmt: skip
    looks = [
        look(1, "rank", "insufficient evidence", 3, 6), look(1, "swap", "supported", 3, 6),
        look(2, "rank", "contradicted", 5, 10),
    ]  # fmt: skip
    sequential.write_rows(tmp_path, sequential.RUNGS, pd.DataFrame(rungs))
    sequential.write_rows(tmp_path, sequential.RATES, pd.DataFrame([rate]))
    sequential.write_rows(tmp_path, sequential.LOOKS, pd.DataFrame(looks))
    return SimpleNamespace(folder=tmp_path / "confirmation", tables={})


def test_looks_rates_and_the_runs_beside_the_fixed_design(results):
    section = decisions_section(results)
    course, race, saving, edge = section.sentences
    assert course.startswith("2 of 2 claims were decided in 2 looks of at most 6.")
    assert "add up to 0.025 on one side" in course
    assert race.startswith("3 learning rates of 1 configuration were raced on 2 seeds of their own")
    # a quarter of a run and two whole ones, on two seeds; and two rates more on five seeds
    assert "This took 14 whole runs, 4 of them for the race" in saving
    assert "every rate on all 5 seeds is 20 runs: 87 minutes beside 2.0 hours" in saving
    assert edge.startswith("lora: the best rate, 0.01, is the highest of 3 rates")
    assert section.looks[-1] == ("2", "0.0080", "5 (0 to 4)", "10", "rank", "contradicted")
    assert section.rates == (("lora", "0.01", "3, from 0.0001 to 0.01", "yes", "no"),)


def test_verdicts_are_those_of_the_looks(results):
    verdicts = [Verdict(name, "", "", (), "not measured", "") for name in ("rank", "swap", "qlora")]
    rank, swap, qlora = reached(verdicts, results)
    assert (rank.outcome, swap.outcome) == ("contradicted", "supported")
    assert rank.sentence == (
        "It is contradicted. Decided at look 2, at the one-sided level 0.0080."
    )
    assert qlora is verdicts[2]


def test_an_ordinary_study_has_no_such_section(tmp_path):
    results = SimpleNamespace(folder=tmp_path / "study")
    verdicts = [Verdict("rank", "", "", (), "supported", "")]
    assert decisions_section(results) is None
    assert reached(verdicts, results) == verdicts


def test_there_is_none_before_the_first_look(results):
    (results.folder.parent / "looks.csv").unlink()
    assert decisions_section(results) is None


def test_names_are_escaped_in_the_page():
    source = html.source("peftlens.reports", "page.html")
    assert "decisions.html" in source
    assert "|safe" not in html.source("peftlens.reports", "decisions.html")
