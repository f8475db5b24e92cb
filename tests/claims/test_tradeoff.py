import pytest
from charts import rows
from step_costs import costs

from peftlens.claims.tradeoff import verdict

NAMES = ("prompt_tuning", "bitfit", "lora", "bottleneck", "full")


def tables(flops, accuracy=lambda n: 0.8 + 0.03 * n, names=NAMES, **settings):
    """Methods with ever more parameters; by default each more accurate, so that none dominates."""
    given = {
        name: {"trainable_parameters": 10 * (n + 1), "flops": lambda tokens, n=n: flops(n, tokens),
               "peak_memory_bytes": 1e9} | settings
        for n, name in enumerate(names)
    }  # fmt: skip
    chart = {
        name: {"trainable_parameters": 10 * (n + 1), "accuracy": accuracy(n),
               "validation_accuracy": accuracy(n)}
        for n, name in enumerate(names)
    }  # fmt: skip
    return rows(chart) | {"training_cost": costs(given, spread=0.0)}


@pytest.mark.parametrize(
    ("flops", "outcome", "share"),
    [
        (lambda n, _: 1e12 * 2.0**-n, "supported", "10 of 10"),
        (lambda n, _: 1e12 * 2.0**n, "contradicted", "0 of 10"),
        (lambda n, tokens: 1e12 * 2.0 ** (-n if tokens == 128 else n),
         "insufficient evidence", "10 of 10"),
        (lambda n, _: 1e12 * 1.01**n, "insufficient evidence", "0 of 0"),  # none differs by 1.2
    ],
)  # fmt: skip
def test_most_pairs_must_conflict_at_every_number_of_tokens(flops, outcome, share):
    found, sentence = verdict(tables(flops))
    assert found == outcome
    assert f"bytes in {share} pairs" in sentence
    assert "Selective methods reach bitfit 0.830 (place 4)" in sentence


def test_bytes_are_a_cost_too():
    found = tables(lambda *_: 1e12)
    frame = found["training_cost"]
    frame["weight_bytes"] = frame["weight_bytes"] / (frame["trainable_parameters"] / 10)
    assert verdict(found)[0] == "supported"


def test_what_is_dominated_does_not_count():
    """With equal accuracies, the smallest and cheapest one dominates all others."""
    found, sentence = verdict(tables(lambda n, _: 1e12 * 2.0**n, lambda _: 0.8))
    assert found == "insufficient evidence"
    assert "in 0 of 0 pairs" in sentence
    assert "dominated: bitfit by prompt_tuning" in sentence


def test_domination_is_corrected_for_the_number_of_pairs():
    """One-sided p of a difference above -2 points: 0.006, enough for three pairs, not for ten."""
    accuracy = lambda n: 0.8 + 0.0136 * n  # noqa: E731  # width 0.005, as tests/charts.py has it
    two = tables(lambda n, _: 1e12 * 2.0**n, accuracy, names=NAMES[:3])
    assert "dominated: bitfit by prompt_tuning, lora by bitfit" in verdict(two)[1]
    assert "dominated: none" in verdict(tables(lambda n, _: 1e12 * 2.0**n, accuracy))[1]


def test_a_method_is_its_best_configuration_on_validation():
    names = ("prompt_tuning", "lora rank=1", "lora rank=2", "bottleneck")
    _, sentence = verdict(tables(lambda n, _: 1e12 * 2.0**-n, names=names))
    assert "prompt_tuning against lora rank=2" in sentence
    assert "rank=1" not in sentence
    assert "in 3 of 3 pairs" in sentence


def test_two_methods_say_nothing():
    assert verdict(tables(lambda *_: 1e12, names=("lora", "full")))[0] == "not measured"


def test_methods_of_packages_that_are_gone_have_no_family():
    found = tables(lambda *_: 1e12)
    found["rank_chart"] = found["rank_chart"].replace({"method": {"bitfit": "gone_since"}})
    assert "Selective" not in verdict(found)[1]
