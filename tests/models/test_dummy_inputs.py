import pytest
import torch
from tiny import build

from peftlens.models.dummy_inputs import random_inputs


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_tokens_are_of_the_vocabulary_and_the_same_each_time(kind):
    model = build(kind)
    inputs = random_inputs(model, 2, 16)
    assert inputs["input_ids"].shape == (2, 16)
    assert inputs["input_ids"].max() < model.config.vocab_size
    assert inputs["attention_mask"].all()
    assert torch.equal(inputs["input_ids"], random_inputs(model, 2, 16)["input_ids"])
    assert ("decoder_input_ids" in inputs) == (kind == "t5")
