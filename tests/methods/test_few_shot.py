import pytest
import torch
from tiny import ANSWERS, build, byte_tokenizer, setting

from peftlens.data.task import Example
from peftlens.errors import InputError
from peftlens.methods.few_shot import Config, attach, resolve_config, trainable_parameters
from peftlens.models.architecture import shapes

TRAIN = tuple(Example(f"{number}:", ANSWERS, number % 2) for number in range(6))
ids = byte_tokenizer().encode


def test_examples_stand_with_their_right_answers():
    one = (Example("hot is", ANSWERS, 1),)
    found = resolve_config(Config(shots=1, separator="; "), setting(one)).token_ids
    assert found == tuple(ids("hot is down; "))


def test_the_run_seed_draws_different_examples():
    config = Config(shots=3, separator="\n")
    drawn = (resolve_config(config, setting(TRAIN, seed=seed)).token_ids for seed in range(8))
    texts = {byte_tokenizer().decode(ids) for ids in drawn}
    assert len(texts) > 1
    lines = {f"{number}:{ANSWERS[number % 2]}" for number in range(6)}
    for text in texts:
        shown = text.splitlines()
        assert len(set(shown)) == 3
        assert set(shown) <= lines


def test_logits_are_those_behind_the_examples():
    model = build("llama")
    expected = model(torch.tensor([[8, 9, 5, 6, 7], [8, 9, 7, 6, 5]])).logits
    attach(model, Config(token_ids=(8, 9)))
    found = model(input_ids=torch.tensor([[5, 6, 7], [7, 6, 5]])).logits
    torch.testing.assert_close(found, expected)


def test_nothing_is_trained():
    assert not any(p.requires_grad for p in attach(build("llama"), Config()).parameters())
    assert trainable_parameters(Config(), shapes(build("llama"))) == 0


@pytest.mark.parametrize(
    ("shots", "kind", "message"),
    [
        (0, "classification", "shots=0 must lie between 1 and 6, the number of training examples"),
        (7, "classification", "shots=7 must lie between 1 and 6"),
        (1, "language_modeling", "needs questions with answers; 'by hand' has texts"),
    ],
)
def test_examples_that_can_not_be_drawn(shots, kind, message):
    with pytest.raises(InputError, match=message):
        resolve_config(Config(shots=shots), setting(TRAIN, kind=kind))
