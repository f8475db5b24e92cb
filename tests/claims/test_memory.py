import pytest
from step_costs import costs

from peftlens.claims.memory import verdict


def table(peaks, full=1e9, **options):
    settings = {"full": {"peak_memory_bytes": full, "trainable_parameters": 1_000}}
    settings |= {name: {"peak_memory_bytes": peak} for name, peak in peaks.items()}
    return {"training_cost": costs(settings, **options)}


def falling(tokens):
    """A tenth of full fine-tuning's memory at 128 tokens a step, and 0.6 of it at 4,096."""
    return 1e8 if tokens == 128 else 6e8


@pytest.mark.parametrize(
    ("peaks", "outcome"),
    [
        ({"lora": 1e8, "bottleneck": 2e8}, "supported"),
        ({"lora": 1e8, "bottleneck": 9e8}, "insufficient evidence"),
        ({"lora": 8e8, "bottleneck": 9e8}, "contradicted"),
        ({"lora": falling, "bottleneck": falling}, "contradicted"),
        ({"lora": 5e8}, "insufficient evidence"),
    ],
)
def test_it_must_be_twice_as_much_at_every_number_of_tokens(peaks, outcome):
    found, sentence, _ = verdict(table(peaks))
    assert found == outcome
    assert "lora" in sentence


def test_more_than_half_of_the_methods_is_corrected_for_their_number():
    """A ratio of 1.94 is below 2 alone, and not those of three methods of five."""
    one = table({"lora": 1e9 / 1.94}, spread=0.006)
    names = ("lora", "ia3", "bitfit", "bottleneck", "prompt_tuning")
    five = table(dict(zip(names, [1e9 / 1.94] * 3 + [1e8] * 2, strict=True)), spread=0.006)
    assert verdict(one)[0] == "contradicted"
    assert verdict(five)[0] == "insufficient evidence"


def test_the_sentence_is_the_curve():
    _, sentence, _ = verdict(table({"lora": falling}, spread=0.0))
    assert "at 8 x 16 tokens 10.00 (10.00 to 10.00) of lora;" in sentence
    assert "at 8 x 512 tokens 1.67 (1.67 to 1.67) of lora." in sentence
    assert "for every method: 8 x 16; less than twice for more than half: 8 x 512." in sentence


def test_least_and_most_are_named():
    _, sentence, _ = verdict(table({"lora": 1e8, "bottleneck": 2e8}, spread=0.0))
    assert "5.00 (5.00 to 5.00) of bottleneck, up to 10.00 of lora;" in sentence


def test_a_disturbed_machine_decides_nothing():
    for peak in (1e8, 9e8):
        found, sentence, _ = verdict(table({"lora": peak}, control=1.3))
        assert found == "insufficient evidence"
        assert "disturbed at 2 of 2" in sentence


def test_a_method_is_its_smallest_configuration():
    tables = table({"lora rank=64": 9e8, "lora rank=1": 1e8})
    frame = tables["training_cost"]
    frame.loc[frame["configuration"] == "lora rank=1", "trainable_parameters"] = 10
    assert verdict(tables)[0] == "supported"


def test_one_number_of_tokens_is_no_curve_and_baselines_are_no_peft():
    tables = table({"lora": 1e8})
    frame = tables["training_cost"]
    assert verdict({"training_cost": frame[frame["length"] == 16]})[0] == "not measured"
    assert verdict(table({"frozen": 1e8}))[0] == "not measured"
