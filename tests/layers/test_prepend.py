import pytest
import torch
from tiny import build, build_encoder

from peftlens.layers.prepend import behind_vectors, prepend_tokens, prepend_vectors

BOS = 2


def logits(model, *rows, **inputs):
    return model(input_ids=torch.tensor(rows), **inputs).logits


def test_tokens_stand_in_front():
    model = build("llama")
    expected = logits(model, [8, 9, 5, 6])
    prepend_tokens(model, (8, 9))
    torch.testing.assert_close(logits(model, [5, 6]), expected)


def test_tokens_stand_behind_the_bos_token_where_there_is_one():
    model = build("llama")
    expected = logits(model, [BOS, 8, 9, 5, 6], [BOS, 8, 9, 7, 6])
    prepend_tokens(model, (8, 9))
    torch.testing.assert_close(logits(model, [BOS, 5, 6], [BOS, 7, 6]), expected)


def test_a_model_without_a_bos_token():
    model = build("llama")
    model.config.bos_token_id = None
    expected = logits(model, [8, BOS, 5])
    prepend_tokens(model, (8,))
    torch.testing.assert_close(logits(model, [BOS, 5]), expected)


def test_padding_stays_unseen():
    model = build("llama")
    expected = logits(model, [8, 9, 5, 6])
    prepend_tokens(model, (8, 9))
    found = logits(model, [5, 6, 0], attention_mask=torch.tensor([[1, 1, 0]]))
    torch.testing.assert_close(found[:, :4], expected)


def test_an_encoder_reads_them():
    model = build("t5")
    decoder = torch.tensor([[0, 7]])
    expected = logits(model, [8, 9, 5, 6], decoder_input_ids=decoder)
    prepend_tokens(model, (8, 9))
    torch.testing.assert_close(logits(model, [5, 6], decoder_input_ids=decoder), expected)


def test_vectors_stand_before_everything_even_a_bos_token():
    model = build("llama")
    expected = logits(model, [8, 9, BOS, 6])
    prepend_vectors(model, model.get_input_embeddings().weight[[8, 9]].detach())
    found = logits(model, [BOS, 6], attention_mask=torch.ones(1, 2))
    torch.testing.assert_close(found, expected)


def test_an_encoder_reads_vectors():
    model = build("t5")
    decoder = torch.tensor([[0, 7]])
    expected = logits(model, [8, 9, 5, 6], decoder_input_ids=decoder)
    prepend_vectors(model, model.get_input_embeddings().weight[[8, 9]].detach())
    given = {"decoder_input_ids": decoder, "attention_mask": torch.ones(1, 2)}
    torch.testing.assert_close(logits(model, [5, 6], **given), expected)


def test_segments_of_an_encoder_stay_with_their_tokens():
    """The vectors in front are of the first segment, as peft puts them."""
    model = build_encoder("bert")
    ids, types = torch.tensor([[5, 6, 7]]), torch.tensor([[0, 1, 1]])
    mask = torch.ones_like(ids)
    vectors = torch.randn(2, 32)
    embedded = torch.cat([vectors[None], model.get_input_embeddings()(ids)], dim=1)
    expected = model(inputs_embeds=embedded, token_type_ids=torch.tensor([[0, 0, 0, 1, 1]])).logits
    prepend_vectors(model, vectors)
    found = model(input_ids=ids, attention_mask=mask, token_type_ids=types).logits
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
@torch.inference_mode()
def test_keys_and_values_computed_once_give_the_logits_of_vectors_in_front(kind):
    model = build(kind)
    vectors = torch.randn(4, model.get_input_embeddings().weight.shape[1])
    inputs = {"attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]])}
    if kind == "t5":
        inputs["decoder_input_ids"] = torch.tensor([[0, 7], [0, 8]])
    with behind_vectors(model, vectors):
        found = [logits(model, [5, 6, 7], [5, 8, 0], **inputs) for _ in range(2)]
    plain = logits(model, [5, 6, 7], [5, 8, 0], **inputs)
    prepend_vectors(model, vectors)
    expected = logits(model, [5, 6, 7], [5, 8, 0], **inputs)[:, -found[0].shape[1] :]
    seen = inputs["attention_mask"].bool() if kind != "t5" else torch.ones(2, 2, dtype=torch.bool)
    for one in found:
        torch.testing.assert_close(one[seen], expected[seen], rtol=1e-4, atol=1e-5)
    assert (plain[seen] - expected[seen]).abs().max() > 1e-3


@torch.inference_mode()
def test_the_vectors_of_a_block_are_computed_once_and_gone_after_it():
    model = build("llama")
    plain = logits(model, [5, 6], attention_mask=torch.ones(1, 2))
    lengths = []
    first = model.get_submodule("model.layers.0")
    handle = first.register_forward_pre_hook(lambda _, args: lengths.append(args[0].shape[1]))
    with behind_vectors(model, torch.randn(4, 32)):
        for _ in range(2):
            logits(model, [5, 6], attention_mask=torch.ones(1, 2))
    handle.remove()
    assert lengths == [4, 2, 2]
    assert torch.equal(logits(model, [5, 6], attention_mask=torch.ones(1, 2)), plain)
