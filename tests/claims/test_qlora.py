import pytest
from charts import rows
from step_costs import costs

from peftlens.claims import judge
from peftlens.claims.qlora import verdict


def tables(settings, memory, **options):
    """Tables of two configurations, the first with this memory, the second with 1 GB."""
    one, other = settings
    measured = costs({other: {}, one: {"peak_memory_bytes": memory}}, **options)
    return rows(settings) | {"training_cost": measured}


def two(accuracy, memory, **options):
    return tables({"qlora rank=8": {"accuracy": accuracy}, "lora rank=8": {}}, memory, **options)


@pytest.mark.parametrize(
    ("accuracy", "memory", "outcome"),
    [
        (0.80, 5e8, "supported"),
        (0.79, 5e8, "supported"),  # within two points
        (0.78, 5e8, "insufficient evidence"),
        (0.70, 5e8, "contradicted"),
        (0.80, 1e9, "insufficient evidence"),
        (0.80, 2e9, "contradicted"),
        (0.80, lambda tokens: 5e8 if tokens == 128 else 2e9, "contradicted"),
    ],
)
def test_accuracy_is_kept_and_memory_saved(accuracy, memory, outcome):
    assert verdict(two(accuracy, memory))[0] == outcome


def test_one_of_two_that_fails_is_corrected_for_two():
    """An accuracy below the margin with a one-sided p of 0.02."""
    found = two(0.78 - 2.054 * 0.005 / 1.96, 5e8)
    assert verdict(found)[0] == "insufficient evidence"
    assert verdict(found, 0.041)[0] == "contradicted"


def test_a_disturbed_machine_shows_no_saving():
    found, sentence, _ = verdict(two(0.8, 5e8, control=1.3))
    assert found == "insufficient evidence"
    assert "disturbed" in sentence
    assert verdict(two(0.7, 5e8, control=1.3))[0] == "contradicted"  # by accuracy


def test_no_seeds_are_planned_where_memory_is_open():
    (one,) = judge(two(0.8, 1e9), names=["qlora"])
    assert (one.outcome, "would decide" in one.sentence) == ("insufficient evidence", False)
    (one,) = judge(two(0.78, 5e8), names=["qlora"])
    assert "have power 0.8 already" in one.sentence  # about the margin


def test_the_sentence_has_both_peaks():
    sentence = verdict(two(0.8, 5e8, spread=0.0))[1]
    assert "over LoRA's is 0.50 (0.50 to 0.50) at 8 x 16 tokens" in sentence
    assert "loading takes 500 MB" in sentence


def test_ranks_must_be_equal():
    assert verdict(tables({"qlora rank=8": {}, "lora rank=4": {}}, 5e8))[0] == "not measured"


def test_without_memory_there_is_no_comparison():
    found = two(0.8, 5e8)
    found["training_cost"]["peak_memory_bytes"] = float("nan")
    assert verdict(found)[0] == "not measured"


def test_keys_in_another_order_are_the_same_configuration():
    one = "qlora rank=8 alpha=4.0 target_modules=attention double_quant=False"
    other = "lora rank=8 target_modules=attention alpha=4.0"
    found, sentence, _ = verdict(tables({one: {}, other: {}}, 5e8))
    assert found == "supported"
    assert sentence.startswith(f"{one} reaches 0.800, {other} 0.800")


def test_a_default_that_is_written_out_is_a_default():
    assert verdict(tables({"qlora rank=8 alpha=16": {}, "lora": {}}, 5e8))[0] == "supported"


@pytest.mark.parametrize("words", ["target_modules=attention", "alpha=4", "max_steps=20"])
def test_what_else_differs_must_not(words):
    found = tables({"qlora rank=8": {}, f"lora rank=8 {words}": {}}, 5e8)
    assert verdict(found)[0] == "not measured"
