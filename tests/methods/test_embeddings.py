import torch
from tiny import build

from peftlens.methods.embeddings import Config, attach, trainable_parameters
from peftlens.models.architecture import shapes


def test_only_the_table_is_trained():
    model = attach(build("neox"), Config())
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained == ["gpt_neox.embed_in.weight"]


def test_a_head_that_shares_the_table_changes_with_it():
    model = build("llama")
    original = model.get_input_embeddings().weight
    attach(model, Config())
    assert model.lm_head.weight is model.get_input_embeddings().weight
    with torch.no_grad():
        model.get_input_embeddings().weight.zero_()
    assert not model(input_ids=torch.tensor([[5]])).logits.any()
    assert original.any()


def test_count_by_hand():
    assert trainable_parameters(Config(), shapes(build("t5"))) == 259 * 32
