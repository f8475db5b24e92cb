import pytest
import torch
from tiny import build

from peftlens.errors import InputError
from peftlens.methods.p_tuning import Config, attach, trainable_parameters
from peftlens.models.architecture import shapes


def test_the_prompt_is_the_networks_output():
    model = build("llama")
    config = Config(num_virtual_tokens=2, hidden_size=8)
    wrapped = attach(model, config)
    network = wrapped.prompt_encoder["default"]
    state = network.embedding.weight
    for at in (0, 2):
        layer = network.mlp_head[at]
        state = torch.relu(state @ layer.weight.T + layer.bias)
    prompt = state @ network.mlp_head[4].weight.T + network.mlp_head[4].bias
    ids = torch.tensor([[5, 6, 7]])
    embedded = torch.cat([prompt[None], model.get_input_embeddings()(ids)], dim=1)
    expected = model(inputs_embeds=embedded).logits[:, 2:]
    found = wrapped(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, -3:]
    torch.testing.assert_close(found, expected)


def test_count_by_hand():
    config = Config(num_virtual_tokens=2, hidden_size=8)
    network = (32 * 8 + 8) + (8 * 8 + 8) + (8 * 32 + 32)
    assert trainable_parameters(config, shapes(build("llama"))) == 2 * 32 + network


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Config(num_virtual_tokens=0), "num_virtual_tokens=0 must be .* at least 1"),
        (Config(hidden_size=0), "hidden_size=0 must be .* at least 1"),
    ],
)
def test_values_that_can_not_work(config, message):
    with pytest.raises(InputError, match=message):
        trainable_parameters(config, shapes(build("llama")))
