import pytest
import simulated_studies as simulated

from peftlens.claims.little_data import verdict


def tables(gain, names=("lora", "full"), **options):
    return simulated.charts({names[0]: 0.7 + gain, names[1]: 0.7}, **({"items": 1500} | options))


@pytest.mark.parametrize(
    ("gain", "outcome"),
    [
        (0.06, "supported"),
        (0.02, "insufficient evidence"),
        (0.0, "contradicted"),  # by less than two points
        (-0.05, "contradicted"),
    ],
)
def test_two_points_decide(gain, outcome):
    assert verdict(tables(gain, seed_sd=0.002))[0] == outcome


def test_the_sentence_has_the_amount():
    _, sentence, _ = verdict(tables(0.06))
    assert sentence.startswith("With 800 training examples, lora reaches 0.")


@pytest.mark.parametrize(
    "names",
    [
        ("lora max_steps=200", "full max_steps=200"),  # 1,600 examples
        ("lora max_steps=50", "full"),  # not alike
        ("frozen", "full"),
        ("head", "full"),
        ("lora", "bottleneck"),
    ],
)
def test_other_runs_are_not_measured(names):
    assert verdict(tables(0.06, names))[0] == "not measured"


def test_a_limited_split_is_little_data():
    one = tables(0.06, ("lora max_steps=200", "full max_steps=200"))
    one["configurations"]["split"] = '{"max_train":100}'
    found, sentence, _ = verdict(one)
    assert found == "supported"
    assert sentence.startswith("With 100 training examples, lora max_steps=200 reaches")


def test_the_least_data_decides():
    accuracies = {"lora": 0.8, "full": 0.7, "lora max_steps=50": 0.7, "full max_steps=50": 0.7}
    one = simulated.charts(accuracies, items=1500, seed_sd=0.002)
    assert verdict(one)[0] == "contradicted"


def test_the_method_that_validates_best_counts():
    one = simulated.charts({"lora": 0.8, "ia3": 0.6, "full": 0.7}, items=1500)
    assert "lora reaches" in verdict(one)[1]


@pytest.mark.parametrize("name", ["lora", "full"])
def test_a_best_rate_at_the_edge_decides_nothing(name):
    assert verdict(tables(0.1, at_edge=[name]))[0] == "insufficient evidence"


def test_other_seeds_are_not_compared():
    one = tables(0.1)
    one["paired_accuracy"] = one["paired_accuracy"].iloc[:0]
    assert verdict(one)[0] == "not measured"


def test_decisions_in_simulated_studies():
    def draw(gain):
        return lambda rng: tables(gain, items=300, rng=rng)

    assert simulated.outcomes(verdict, draw(0.07), 30)["supported"] >= 0.9
    assert simulated.outcomes(verdict, draw(-0.03), 30)["contradicted"] >= 0.9
    assert max(simulated.outcomes(verdict, draw(0.02)).values()) <= 0.05
