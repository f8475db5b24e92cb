import finished
import pandas as pd
import pytest

from peftlens.errors import InputError
from peftlens.results import study_results
from peftlens.studies.claim_plan import claim_plan

NAMES = ("rank", "placement")


@pytest.fixture(scope="module")
def pilot(tmp_path_factory):
    """Three ranks at two rates over three seeds: 18 runs, of which no one is told apart."""
    configs = [
        finished.lora(rank, seed, rate)
        for rank in (1, 8, 64) for rate in (1e-3, 3e-3) for seed in range(3)
    ]  # fmt: skip
    return study_results.read(finished.study(tmp_path_factory.mktemp("study"), configs, items=400))


def test_seeds_runs_and_time_of_the_widest_comparison(pilot):
    row = claim_plan(pilot, NAMES).set_index("claim").loc["rank"]
    assert row["outcome"] == "insufficient evidence"
    assert (row["n_seeds"], row["n_items"]) == (3, 400)
    assert row["seeds_needed"] > 3
    assert row["more_runs"] == 6 * (row["seeds_needed"] - 3)  # three ranks at two rates
    seconds = [run.timing()[-1]["seconds"] for run in pilot.runs]
    assert row["more_seconds"] == pytest.approx(row["more_runs"] * sum(seconds) / len(seconds))
    assert pd.isna(row["items_needed"])  # the seeds vary too much for ten of them
    assert "against lora rank=" in row["comparison"]


def test_more_looks_need_more(pilot):
    once, often = (claim_plan(pilot, ["rank"], looks).iloc[0] for looks in (1, 6))
    assert often["seeds_needed"] > once["seeds_needed"]


def test_a_claim_that_the_pilot_does_not_measure_has_no_plan(pilot):
    row = claim_plan(pilot, NAMES).set_index("claim").loc["placement"]
    assert row["outcome"] == "not measured"
    assert row.drop("outcome").isna().all()


def test_all_claims_or_those_that_there_are(pilot):
    assert len(claim_plan(pilot)) > 20
    with pytest.raises(InputError, match="rank"):
        claim_plan(pilot, ["rnak"])
