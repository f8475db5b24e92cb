import pytest
import torch
from tiny import build, setting

from peftlens.errors import InputError
from peftlens.methods.mam import Config, attach, resolve_config, trainable_parameters
from peftlens.models.architecture import shapes


def test_prefix_is_read_as_if_it_were_tokens():
    model = build("llama")
    ids = torch.tensor([[5, 6, 7]])
    expected = model(torch.tensor([[8, 9, 5, 6, 7]])).logits[:, 2:]
    read = model(torch.tensor([[8, 9]]), use_cache=True).past_key_values
    attach(model, Config(bottleneck_size=4, num_virtual_tokens=2))
    with torch.no_grad():
        for layer, states in zip(read.layers, model.prefix.states, strict=True):
            states.copy_(torch.stack([layer.keys[0], layer.values[0]]))
    torch.testing.assert_close(model(input_ids=ids).logits, expected)


def test_the_start_is_a_prompt_of_common_tokens():
    model = build("llama")
    ids = torch.tensor([[5, 6, 7]])
    expected = model(torch.tensor([[90, 90, 5, 6, 7]])).logits[:, 2:]
    attach(model, Config(bottleneck_size=4, num_virtual_tokens=2, common_ids=((90, 90),)))
    torch.testing.assert_close(model(input_ids=ids).logits, expected)
    assert resolve_config(Config(), setting()).common_ids == ((3, 258),)


def test_adapters_stand_beside_the_feed_forward_layers_alone():
    model = attach(build("llama"), Config(scale=2.0))
    layer = model.model.layers[0].mlp
    x = torch.randn(1, 3, 32)
    plain = layer(x)
    with torch.no_grad():
        layer.parallel.bottleneck.up.bias.fill_(1.5)
    torch.testing.assert_close(layer(x), plain + 2.0 * 1.5)
    assert not hasattr(model.model.layers[0].self_attn, "parallel")


def test_count_by_hand():
    config = Config(bottleneck_size=4, num_virtual_tokens=5)
    # a block: adapter 2 * 32 * 4 + 4 + 32; 5 keys and 5 values of 2 heads of 8
    assert trainable_parameters(config, shapes(build("llama"))) == 3 * (292 + 2 * 5 * 16)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Config(bottleneck_size=0), "bottleneck_size=0"),
        (Config(num_virtual_tokens=0), "num_virtual_tokens=0"),
        (Config(scale=-1), "scale=-1"),
    ],
)
def test_values_that_can_not_work(config, message):
    with pytest.raises(InputError, match=message):
        trainable_parameters(config, shapes(build("llama")))
