import pytest
import simulated_studies as simulated

from peftlens.claims.frozen_a import verdict

BOTH = ("lora rank=8", "lora_fa rank=8")


def tables(loss, items=1500, **options):
    return simulated.charts({BOTH[0]: 0.8, BOTH[1]: 0.8 - loss}, items=items, **options)


@pytest.mark.parametrize(
    ("loss", "outcome"),
    [
        (0.0, "supported"),
        (-0.05, "supported"),  # better is enough too
        (0.02, "insufficient evidence"),
        (0.06, "contradicted"),
    ],
)
def test_two_points_decide(loss, outcome):
    assert verdict(tables(loss))[0] == outcome


def test_the_sentence_has_the_numbers():
    _, sentence, _ = verdict(tables(0.0))
    assert sentence.startswith("With A frozen, lora_fa rank=8 reaches 0.")
    assert "(6 seeds, 1,500 examples; a difference of" in sentence


def test_few_items_and_seeds_decide_nothing():
    assert verdict(tables(0.0, items=30, seeds=2))[0] == "insufficient evidence"


@pytest.mark.parametrize("name", BOTH)
def test_a_best_rate_at_the_edge_decides_nothing(name):
    found, sentence, _ = verdict(tables(0.06, at_edge=[name]))
    assert found == "insufficient evidence"
    assert sentence.endswith(f"Best rates at the edge of their grid: {name}; widen the grids.")


@pytest.mark.parametrize(
    "names", [["lora rank=8"], ["lora rank=8", "lora_fa rank=4"], ["lora_fa rank=8"]]
)
def test_what_was_not_trained_alike_is_not_compared(names):
    assert verdict(simulated.charts(dict.fromkeys(names, 0.8)))[0] == "not measured"


def test_other_seeds_are_not_compared():
    one = tables(0.0)
    one["paired_accuracy"] = one["paired_accuracy"].iloc[:0]
    assert verdict(one)[0] == "not measured"


def test_the_pair_that_is_best_on_validation_counts():
    names = {"lora rank=1": 0.7, "lora_fa rank=1": 0.7, "lora rank=8": 0.8, "lora_fa rank=8": 0.7}
    assert verdict(simulated.charts(names, items=1500))[0] == "contradicted"


def test_decisions_in_simulated_studies():
    def draw(loss):
        return lambda rng: tables(loss, items=300, rng=rng)

    assert simulated.outcomes(verdict, draw(-0.03), 30)["supported"] >= 0.9
    assert simulated.outcomes(verdict, draw(0.07), 30)["contradicted"] >= 0.9
    assert max(simulated.outcomes(verdict, draw(0.02)).values()) <= 0.05
