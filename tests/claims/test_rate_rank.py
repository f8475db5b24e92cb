import numpy as np
import pytest
import simulated_studies as simulated

from peftlens.claims.rate_rank import verdict


def tables(optima, **options):
    noise = {"seed_sd": 0.02} | options
    named = {f"lora rank={rank}": log for rank, log in optima.items()}
    return simulated.rates(named, np.random.default_rng(0), **noise)


@pytest.mark.parametrize(
    ("optima", "outcome"),
    [
        ({1: -3.0, 8: -3.0, 64: -3.1}, "supported"),
        ({1: -2.5, 8: -3.0, 64: -3.6}, "contradicted"),  # lower for high ranks
        ({1: -3.0, 8: -2.2, 64: -3.0}, "contradicted"),  # only one differs
        ({1: -3.0, 8: -3.0, 64: -3.5}, "insufficient evidence"),  # at the margin
        ({8: -3.0, 16: -3.0, 32: -3.0}, "not measured"),  # a factor of 4
        ({8: -3.0}, "not measured"),
    ],
)
def test_half_a_decade_decides(optima, outcome):
    assert verdict(tables(optima))[0] == outcome


def test_the_sentence_has_every_rank():
    _, sentence, _ = verdict(tables({1: -3.0, 8: -3.0, 64: -3.3}))
    assert sentence.startswith("Best rates: rank 1 0.001; rank 8 0.001; rank 64 0.0005 (6 seeds).")
    assert (
        "Against rank 1: rank 8 1.0 times, 0.6 to 1.7; rank 64 0.5 times, 0.3 to 0.9." in sentence
    )


def test_a_rank_at_the_edge_keeps_the_claim_from_being_supported():
    found, sentence, _ = verdict(tables({1: -3.0, 8: -3.0, 64: -1.2}))
    assert found == "insufficient evidence"
    assert "it is a bound only: rank 64; widen the grid. Against rank 1: rank 8" in sentence
    assert "rank 64 1" not in sentence  # no ratio of it


def test_the_other_ranks_can_contradict_it():
    assert verdict(tables({1: -3.4, 8: -2.2, 64: -1.2}))[0] == "contradicted"


def test_all_ranks_at_the_edge_decide_nothing():
    assert verdict(tables({1: -1.2, 8: -1.2, 64: -1.2}))[0] == "insufficient evidence"


def test_another_alpha_is_another_scale():
    named = {"lora rank=1 alpha=1": -3.0, "lora rank=64 alpha=64": -3.0}
    assert verdict(simulated.rates(named, np.random.default_rng(0)))[0] == "not measured"


def test_the_group_with_most_ranks_counts():
    named = {f"lora rank={rank}": -3.0 for rank in (1, 4, 8)} | {
        "lora rank=1 target_modules=attention": -3.0,
        "lora rank=8 target_modules=attention": -2.2,
    }
    one = simulated.rates(named, np.random.default_rng(0), seed_sd=0.02)
    assert verdict(one)[0] == "supported"


def test_other_seeds_are_not_compared():
    one = tables({1: -3.0, 64: -3.0})
    rows = one["cost"]["configuration"].str.startswith("lora rank=64")
    one["cost"].loc[rows, "seed"] += 100
    assert verdict(one)[0] == "not measured"


def test_decisions_in_simulated_studies():
    def draw(change):
        def one(rng):
            named = {"lora rank=1": -2.7, "lora rank=8": -2.7, "lora rank=64": -2.7 - change}
            return simulated.rates(named, rng, 8, seed_sd=0.1, grid=simulated.grids(rng))

        return one

    assert simulated.outcomes(verdict, draw(0.0), 50)["supported"] >= 0.8
    assert simulated.outcomes(verdict, draw(1.0), 50)["contradicted"] >= 0.8
    assert max(simulated.outcomes(verdict, draw(0.5)).values()) <= 0.05
