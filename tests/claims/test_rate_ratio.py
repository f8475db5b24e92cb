import numpy as np
import pytest
import simulated_studies as simulated

from peftlens.claims.rate_ratio import verdict


def tables(lora, full=-4.0, **options):
    noise = {"seed_sd": 0.02} | options
    return simulated.rates({"lora": lora, "full": full}, np.random.default_rng(0), **noise)


@pytest.mark.parametrize(
    ("lora", "outcome"),
    [
        (-3.0, "supported"),
        (-2.5, "insufficient evidence"),  # at the margin
        (-2.1, "contradicted"),  # 80 times
        (-3.9, "contradicted"),  # 1.3 times
    ],
)
def test_half_a_decade_around_ten_decides(lora, outcome):
    assert verdict(tables(lora))[0] == outcome


def test_the_sentence_has_the_ratio_with_its_interval():
    _, sentence, _ = verdict(tables(-3.0))
    assert sentence.startswith("The best rate of lora is 0.001, of full 0.0001: 10.0 times, 5.8 to")
    assert "(6 seeds)" in sentence


def test_a_best_rate_at_the_edge_of_its_grid_decides_nothing():
    found, sentence, _ = verdict(tables(-1.2))  # above the highest rate
    assert found == "insufficient evidence"
    assert "it is a bound only: lora in 6 of 6 seeds; widen the grid." in sentence


def test_seeds_that_vary_widely_decide_nothing():
    assert verdict(tables(-3.0, seed_sd=0.4, seeds=2))[0] == "insufficient evidence"


def test_a_level_of_none_decides_nothing():
    assert verdict(tables(-3.0), alpha=1e-9)[0] == "insufficient evidence"


def test_the_lora_that_is_best_on_validation_counts():
    rng = np.random.default_rng(0)
    one = simulated.rates({"lora rank=1": -3.0, "lora rank=8": -2.1, "full": -4.0}, rng, seed_sd=0)
    rows = one["cost"]["configuration"].str.startswith("lora rank=8")
    one["cost"].loc[rows, "validation_accuracy"] += 0.1
    assert verdict(one)[0] == "contradicted"
    one["cost"].loc[rows, "validation_accuracy"] -= 0.2
    assert verdict(one)[0] == "supported"


@pytest.mark.parametrize("names", [["lora"], ["lora max_steps=50", "full"]])
def test_what_was_not_trained_alike_is_not_compared(names):
    one = simulated.rates(dict.fromkeys(names, -3.5), np.random.default_rng(0))
    assert verdict(one)[0] == "not measured"


def test_two_rates_are_not_a_grid():
    grid = {"full": np.array([-4.5, -3.5]), "lora": np.array([-3.5, -2.5])}
    assert verdict(tables(-3.0, grid=grid))[0] == "not measured"


def test_one_seed_is_not_measured():
    assert verdict(tables(-3.0, seeds=1))[0] == "not measured"


def test_decisions_in_simulated_studies():
    """Grids lie anywhere around the best rates: true ratios of 10, 100 and at the margin."""

    def draw(ratio):
        def one(rng):
            optima = {"lora": -4.2 + ratio, "full": -4.2}
            return simulated.rates(optima, rng, 8, seed_sd=0.15, grid=simulated.grids(rng))

        return one

    assert simulated.outcomes(verdict, draw(1.0), 50)["supported"] >= 0.9
    assert simulated.outcomes(verdict, draw(2.0), 50)["contradicted"] >= 0.9
    assert max(simulated.outcomes(verdict, draw(1.5)).values()) <= 0.05
