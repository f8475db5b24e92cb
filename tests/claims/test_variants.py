import pytest
import simulated_studies as simulated

from peftlens.claims.variants import verdict

THREE = {"dora rank=8": 0.8, "pissa rank=8 alpha=8": 0.8, "rslora rank=8": 0.8}


def tables(changed=(), lora="lora rank=8", items=2000, **options):
    return simulated.charts({lora: 0.8} | THREE | dict(changed), items=items, **options)


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        ({}, "supported"),
        ({"dora rank=8": 0.86}, "contradicted"),  # better
        ({"pissa rank=8 alpha=8": 0.74}, "contradicted"),  # worse
        ({"rslora rank=8": 0.818}, "insufficient evidence"),
    ],
)
def test_two_points_on_either_side_decide(changed, outcome):
    assert verdict(tables(changed, seed_sd=0.002))[0] == outcome


def test_the_sentence_has_every_variant():
    _, sentence, _ = verdict(tables())
    assert sentence.startswith("Against lora rank=8, which reaches 0.")
    assert all(f"{name} has" in sentence for name in THREE)


def test_few_items_decide_nothing():
    assert verdict(tables(items=30, seeds=3))[0] == "insufficient evidence"


def test_a_variant_at_the_edge_is_not_tuned():
    worse = {"dora rank=8": 0.5, "olora rank=8": 0.8}
    found, sentence, _ = verdict(tables(worse, at_edge=["dora rank=8"], seed_sd=0.002))
    assert found == "supported"  # by the other three
    assert "Best rates at the edge of their grid: dora rank=8" in sentence
    assert verdict(tables({"dora rank=8": 0.5}, at_edge=["dora rank=8"], seed_sd=0.002))[0] == (
        "insufficient evidence"  # two are too few
    )


def test_an_untuned_lora_decides_nothing():
    found = verdict(tables({"dora rank=8": 0.9}, at_edge=["lora rank=8"]))[0]
    assert found == "insufficient evidence"


@pytest.mark.parametrize("lora", ["lora rank=4", "lora rank=8 max_steps=50", "bottleneck"])
def test_what_was_not_trained_alike_is_not_compared(lora):
    assert verdict(tables(lora=lora))[0] == "not measured"


def test_the_lora_with_most_variants_counts():
    one = tables({"lora rank=1": 0.8, "dora rank=1": 0.5}, seed_sd=0.002)
    assert verdict(one)[0] == "supported"


def test_of_several_alphas_the_one_that_validates_best_counts():
    one = tables({"pissa rank=8 alpha=1": 0.5}, validation={"pissa rank=8 alpha=1": 0.9})
    assert verdict(one)[0] == "contradicted"
    one = tables({"pissa rank=8 alpha=1": 0.5}, validation={"pissa rank=8 alpha=1": 0.1})
    assert "pissa rank=8 alpha=1 " not in verdict(one)[1]


def test_other_seeds_are_not_compared():
    one = tables()
    one["paired_accuracy"] = one["paired_accuracy"].iloc[:0]
    assert verdict(one)[0] == "not measured"


def test_decisions_in_simulated_studies():
    def draw(change):
        changed = {"dora rank=8": 0.8 + change}
        return lambda rng: tables(changed, items=500, rng=rng, seed_sd=0.001, residual_sd=0.15)

    assert simulated.outcomes(verdict, draw(0.0), 50)["supported"] >= 0.8
    assert simulated.outcomes(verdict, draw(0.06), 50)["contradicted"] >= 0.9
    at_margin = simulated.outcomes(verdict, draw(0.02))
    assert at_margin["contradicted"] <= 0.05
    assert at_margin["supported"] <= 0.08  # 5 % in truth, and 200 studies are within 3 points
