import torch
from tiny import build, build_encoder

from peftlens.layers.prepend import prepend_tokens, prepend_vectors

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
