import pytest
from charts import rows

from peftlens.claims.qlora import verdict


@pytest.mark.parametrize(
    ("accuracy", "memory", "outcome"),
    [
        (0.80, 5e6, "supported"),
        (0.80, 20e6, "insufficient evidence"),
        (0.70, 5e6, "contradicted"),
        (0.79, 5e6, "insufficient evidence"),
    ],
)
def test_accuracy_is_kept_and_memory_saved(accuracy, memory, outcome):
    found, _ = verdict(
        rows(
            {"qlora rank=8": {"accuracy": accuracy, "peak_memory_bytes": memory}, "lora rank=8": {}}
        )
    )
    assert found == outcome


def test_ranks_must_be_equal():
    assert verdict(rows({"qlora rank=8": {}, "lora rank=4": {}}))[0] == "not measured"


def test_without_memory_there_is_no_comparison():
    found = rows({"qlora rank=8": {"peak_memory_bytes": None}, "lora rank=8": {}})
    assert verdict(found)[0] == "not measured"


def test_keys_in_another_order_are_the_same_configuration():
    one = "qlora rank=8 alpha=4.0 target_modules=attention double_quant=False"
    other = "lora rank=8 target_modules=attention alpha=4.0"
    found, sentence = verdict(rows({one: {"peak_memory_bytes": 5e6}, other: {}}))
    assert found == "supported"
    assert sentence.startswith(f"{one} reaches 0.800, {other} 0.800")


def test_a_default_that_is_written_out_is_a_default():
    found = rows({"qlora rank=8 alpha=16": {"peak_memory_bytes": 5e6}, "lora": {}})
    assert verdict(found)[0] == "supported"


@pytest.mark.parametrize("words", ["target_modules=attention", "alpha=4", "max_steps=20"])
def test_what_else_differs_must_not(words):
    assert verdict(rows({"qlora rank=8": {}, f"lora rank=8 {words}": {}}))[0] == "not measured"
