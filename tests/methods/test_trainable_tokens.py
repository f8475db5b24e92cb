import pytest
import torch
from tiny import build, byte_tokenizer, setting

from peftlens.errors import InputError
from peftlens.methods.trainable_tokens import Config, attach, resolve_config, trainable_parameters
from peftlens.models.architecture import shapes

ids = byte_tokenizer().encode


def test_a_texts_tokens_each_once():
    assert resolve_config(Config(text="abba"), setting()).token_ids == tuple(sorted(set(ids("ab"))))


def test_labels_are_read_as_they_stand_in_answers():
    found = resolve_config(Config(), setting(labels=(" up", " down"))).token_ids
    assert found == tuple(sorted(set(ids(" up down"))))


def test_only_the_chosen_rows_change():
    model = build("llama")
    plain = model.get_input_embeddings().weight.detach().clone()
    wrapped = attach(model, Config(token_ids=(5, 7)))
    trained = [p for p in wrapped.parameters() if p.requires_grad]
    assert [p.shape for p in trained] == [(2, 32)]
    with torch.no_grad():
        trained[0].add_(1.0)
    found = wrapped.get_input_embeddings()(torch.arange(259))
    expected = plain.clone()
    expected[[5, 7]] += 1.0
    torch.testing.assert_close(found, expected)


def test_a_head_that_shares_the_table_follows():
    model = build("llama")
    ids = torch.tensor([[9, 10]])
    before = model(ids).logits
    wrapped = attach(model, Config(token_ids=(5,)))
    with torch.no_grad():
        next(p for p in wrapped.parameters() if p.requires_grad).zero_()
    after = wrapped(input_ids=ids).logits
    assert not after[..., 5].any()
    torch.testing.assert_close(after[..., 6:], before[..., 6:])


def test_count_by_hand():
    config = Config(token_ids=(5, 7, 9))
    assert trainable_parameters(config, shapes(build("llama"))) == 3 * 32


def test_neither_text_nor_labels():
    with pytest.raises(InputError, match="needs a text: 'by hand' has no labels"):
        resolve_config(Config(), setting(labels=()))


@pytest.mark.parametrize(
    ("ids", "message"), [((), "once its tokens are"), ((3, 259), "259 is not below 259")]
)
def test_tokens_that_can_not_be(ids, message):
    with pytest.raises(InputError, match=message):
        trainable_parameters(Config(token_ids=ids), shapes(build("llama")))
