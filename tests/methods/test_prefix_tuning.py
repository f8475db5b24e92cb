import pytest
import torch
from tiny import build, setting

from peftlens.errors import InputError
from peftlens.methods.prefix_tuning import Config, attach, resolve_config, trainable_parameters
from peftlens.models.architecture import shapes


@pytest.mark.parametrize("kind", ["llama", "gpt2", "neox", "opt"])
def test_prefix_is_read_as_if_it_were_tokens(kind):
    model = build(kind)
    ids = torch.tensor([[5, 6, 7]])
    expected = model(torch.tensor([[8, 9, 5, 6, 7]])).logits[:, 2:]
    read = model(torch.tensor([[8, 9]]), use_cache=True).past_key_values
    wrapped = attach(model, Config(num_virtual_tokens=2))
    rows = [
        torch.cat([part[0, :, token].flatten() for layer in read.layers
                   for part in (layer.keys, layer.values)])
        for token in range(2)
    ]  # fmt: skip
    with torch.no_grad():
        wrapped.prompt_encoder["default"].embedding.weight.copy_(torch.stack(rows))
    found = wrapped(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "neox", "opt"])
def test_the_start_is_a_prompt_of_common_tokens(kind):
    model = build(kind)
    ids = torch.tensor([[5, 6, 7]])
    expected = model(torch.tensor([[90, 90, 5, 6, 7]])).logits[:, 2:]
    wrapped = attach(model, Config(num_virtual_tokens=2, common_ids=((90, 90),)))
    found = wrapped(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    torch.testing.assert_close(found, expected)


def test_an_encoder_decoder_starts_at_little_noise():
    torch.manual_seed(0)
    weight = attach(build("t5"), Config()).prompt_encoder["default"].embedding.weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_common_tokens_are_filled_in():
    assert resolve_config(Config(), setting()).common_ids == ((3, 258),)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # a key and a value for each token and layer: 2 heads of 8, or 4 heads of 8
        ("llama", 2 * 5 * 3 * 16),
        ("gpt2", 2 * 5 * 2 * 32),
        ("t5", 2 * 5 * 2 * 32),
        ("neox", 2 * 5 * 2 * 32),
        ("opt", 2 * 5 * 2 * 32),
    ],
)
def test_count_by_hand(kind, expected):
    model = build(kind)
    config = Config(num_virtual_tokens=5)
    assert trainable_parameters(config, shapes(model)) == expected
    wrapped = attach(model, config)
    assert sum(p.numel() for p in wrapped.parameters() if p.requires_grad) == expected


def test_length_of_zero():
    with pytest.raises(InputError, match="num_virtual_tokens=0 must be .* at least 1"):
        trainable_parameters(Config(num_virtual_tokens=0), shapes(build("llama")))
