import pytest
import torch
from tiny import build

from peftlens.errors import InputError
from peftlens.methods.adaption_prompt import Config, attach, trainable_parameters
from peftlens.models.architecture import shapes


def test_only_the_top_layers_get_vectors():
    wrapped = attach(build("llama"), Config(num_virtual_tokens=4, layers=2))
    trained = {name.split("layers.")[1][0] for name, p in wrapped.named_parameters()
               if p.requires_grad}  # fmt: skip
    assert trained == {"1", "2"}


def test_without_a_number_all_layers_are_adapted():
    wrapped = attach(build("gpt2"), Config(num_virtual_tokens=4))
    assert sum(p.shape == (1, 4, 32) for p in wrapped.parameters() if p.requires_grad) == 2


def test_attention_is_added_as_far_as_its_gate_is_open():
    ids = torch.tensor([[5, 6, 7]])
    model = build("llama")
    plain = model(ids).logits
    wrapped = attach(model, Config(num_virtual_tokens=4, layers=1))
    assert torch.equal(wrapped(input_ids=ids).logits, plain)
    with torch.no_grad():
        wrapped.base_model.model.model.layers[2].self_attn.adaption_gate.fill_(0.5)
    assert not torch.allclose(wrapped(input_ids=ids).logits, plain)


def test_count_by_hand():
    # five vectors of 32 and a gate a layer
    config = Config(num_virtual_tokens=5, layers=2)
    assert trainable_parameters(config, shapes(build("llama"))) == 2 * (5 * 32 + 1)
    assert trainable_parameters(Config(), shapes(build("llama"))) == 3 * (10 * 32 + 1)


@pytest.mark.parametrize(
    ("config", "kind", "message"),
    [
        (Config(), "t5", "for Llama-like models and GPT-2 only"),
        (Config(), "opt", "for Llama-like models and GPT-2 only"),
        (Config(layers=0), "llama", "layers=0 must lie between 1 and 3, this model's depth"),
        (Config(layers=4), "llama", "layers=4 must lie between 1 and 3"),
        (Config(num_virtual_tokens=0), "llama", "num_virtual_tokens=0"),
    ],
)
def test_values_that_can_not_work(config, kind, message):
    with pytest.raises(InputError, match=message):
        trainable_parameters(config, shapes(build(kind)))
