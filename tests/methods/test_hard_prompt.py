import pytest
import torch
from tiny import build, byte_tokenizer, setting

from peftlens.errors import InputError
from peftlens.methods.hard_prompt import Config, attach, resolve_config, trainable_parameters
from peftlens.models.architecture import shapes


def test_text_becomes_token_ids():
    found = resolve_config(Config(text="Sort: "), setting())
    assert found.token_ids == tuple(byte_tokenizer().encode("Sort: "))
    assert len(found.token_ids) == 6


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_logits_are_those_of_the_plain_model_behind_the_text(kind):
    model = build(kind)
    expected = model(torch.tensor([[8, 9, 5, 6, 7]])).logits
    attach(model, Config(token_ids=(8, 9)))
    torch.testing.assert_close(model(input_ids=torch.tensor([[5, 6, 7]])).logits, expected)


def test_an_encoder_reads_the_text():
    model = build("t5")
    decoder = torch.tensor([[0, 5]])
    expected = model(
        input_ids=torch.tensor([[8, 9, 5, 6]]), decoder_input_ids=decoder
    ).logits  # fmt: skip
    attach(model, Config(token_ids=(8, 9)))
    found = model(input_ids=torch.tensor([[5, 6]]), decoder_input_ids=decoder).logits
    torch.testing.assert_close(found, expected)


def test_nothing_is_trained():
    assert not any(p.requires_grad for p in attach(build("llama"), Config()).parameters())
    assert trainable_parameters(Config(), shapes(build("llama"))) == 0


def test_no_text():
    with pytest.raises(InputError, match="hard_prompt needs a text, and text='' has no tokens"):
        resolve_config(Config(), setting())
