import pytest
import torch
from tiny import build

from peftlens.errors import InputError
from peftlens.layers.prefix import Prefix, geometry, prefix_parameters
from peftlens.models.architecture import shapes


def fill(prefix, read):
    with torch.no_grad():
        for layer, states in zip(read.layers, prefix.states, strict=True):
            states.copy_(torch.stack([layer.keys[0], layer.values[0]]))


@pytest.mark.parametrize("kind", ["llama", "gpt2", "neox", "opt"])
def test_prefix_is_read_as_if_it_were_tokens(kind):
    model = build(kind)
    ids = torch.tensor([[5, 6, 7], [7, 6, 5]])
    behind = torch.tensor([[8, 9]])
    expected = model(torch.cat([behind.expand(2, -1), ids], dim=1)).logits[:, 2:]
    read = model(behind, use_cache=True).past_key_values
    prefix = Prefix(model, 2)
    prefix.put_before(model)
    fill(prefix, read)
    torch.testing.assert_close(model(input_ids=ids).logits, expected)
    mask = torch.ones_like(ids)
    torch.testing.assert_close(model(input_ids=ids, attention_mask=mask).logits, expected)


def test_padding_stays_unseen():
    model = build("llama")
    Prefix(model, 2).put_before(model)
    short = model(input_ids=torch.tensor([[5, 6]])).logits
    padded = model(
        input_ids=torch.tensor([[5, 6, 0]]), attention_mask=torch.tensor([[1, 1, 0]])
    ).logits
    torch.testing.assert_close(padded[:, :2], short)


def test_every_pass_starts_anew():
    model = build("llama")
    Prefix(model, 2).put_before(model)
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)


@pytest.mark.parametrize("given", ["decoder_input_ids", "labels"])
def test_an_encoder_decoders_decoder_reads_it(given):
    model = build("t5")
    ids, answer = torch.tensor([[5, 6, 7]]), torch.tensor([[0, 8]])
    plain = model(input_ids=ids, **{given: answer}).logits
    encoded = model.encoder(input_ids=ids).last_hidden_state
    prefix = Prefix(model, 2)
    prefix.put_before(model)
    with torch.no_grad():
        prefix.states.fill_(0.5)
    assert torch.equal(model.encoder(input_ids=ids).last_hidden_state, encoded)
    assert not torch.allclose(model(input_ids=ids, **{given: answer}).logits, plain)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("llama", (3, 2, 8)), ("gpt2", (2, 4, 8)), ("t5", (2, 4, 8)), ("opt", (2, 4, 8))],
)
def test_geometry(kind, expected):
    assert geometry(build(kind).config) == expected


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5", "neox", "opt"])
def test_parameters_are_those_of_the_states(kind):
    model = build(kind)
    heads = 16 if kind == "llama" else 32
    expected = 2 * 5 * geometry(model.config)[0] * heads
    assert Prefix(model, 5).states.numel() == expected
    assert prefix_parameters(shapes(model), 5) == expected


def test_length_of_zero():
    with pytest.raises(InputError, match="num_virtual_tokens=0 must be .* at least 1"):
        prefix_parameters(shapes(build("llama")), 0)
