import pytest
import torch
from tiny import build

from peftlens.methods.head import Config, attach, trainable_parameters
from peftlens.models.architecture import shapes


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
def test_an_input_that_shared_the_table_stays_fixed(kind):
    model = build(kind)
    table = model.get_input_embeddings().weight
    attach(model, Config())
    head = model.get_output_embeddings().weight
    assert head is not table
    with torch.no_grad():
        head.zero_()
    assert model.get_input_embeddings().weight is table
    assert table.any()
    assert not table.requires_grad
    ids = torch.tensor([[5, 6]])
    inputs = {"decoder_input_ids": ids} if kind == "t5" else {}
    assert not model(input_ids=ids, **inputs).logits.any()


def test_only_the_head_is_trained():
    model = attach(build("neox"), Config())
    trained = [p for p in model.parameters() if p.requires_grad]
    assert len(trained) == 1
    assert trained[0] is model.get_output_embeddings().weight


@pytest.mark.parametrize("kind", ["llama", "neox", "t5"])
def test_count_by_hand(kind):
    assert trainable_parameters(Config(), shapes(build(kind))) == 259 * 32
