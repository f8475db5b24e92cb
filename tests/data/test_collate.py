import numpy as np
import pytest
import torch

from peftlens.data.collate import Collator, length, scoring_batches, training_batches
from peftlens.data.task import Example
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.models.base_model import load_base_model


@pytest.fixture
def encoder(llama):
    return Collator.of(llama, 32)


def ids(text):
    """The test tokenizer gives each byte its own id."""
    from tiny import byte_tokenizer

    return tuple(byte_tokenizer()(text)["input_ids"])


def test_causal_batch_by_hand(encoder):
    batch = encoder.batch([TokenizedAnswer((10, 11), (12, 13)), TokenizedAnswer((20,), (21,))])
    assert batch.inputs["input_ids"].tolist() == [[10, 11, 12], [20, 0, 0]]
    assert batch.inputs["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch.scored.tolist() == [[False, True, True], [True, False, False]]
    assert batch.targets.tolist() == [12, 13, 21]


def test_language_modeling_leaves_the_first_token_out(encoder):
    (item,), _ = encoder.items([Example("", ("abc",))])
    batch = encoder.batch(item.rows)
    assert batch.inputs["input_ids"].tolist() == [list(ids("ab"))]
    assert batch.targets.tolist() == list(ids("bc"))
    assert item.rows[0].scored == 2


def test_seq2seq_batch_by_hand(bases):
    encoder = Collator.of(load_base_model(str(bases["t5"]), device="cpu", dtype="float32"), 32)
    batch = encoder.batch([TokenizedAnswer((10, 11), (12, 13)), TokenizedAnswer((20,), (21,))])
    assert batch.inputs["input_ids"].tolist() == [[10, 11], [20, 0]]
    assert batch.inputs["decoder_input_ids"].tolist() == [[0, 12], [0, 0]]
    assert batch.scored.tolist() == [[True, True], [True, False]]
    assert batch.targets.tolist() == [12, 13, 21]


def test_language_modeling_with_an_encoder_scores_every_token(bases):
    encoder = Collator.of(load_base_model(str(bases["t5"]), device="cpu", dtype="float32"), 32)
    (item,), _ = encoder.items([Example("", ("abc",))])
    batch = encoder.batch(item.rows)
    assert item.rows[0].scored == 3
    assert batch.inputs["input_ids"].tolist() == [[1]]
    assert batch.targets.tolist() == list(ids("abc"))


def test_training_batches_show_every_row_once_an_epoch():
    rows = [TokenizedAnswer((1,) * n, (2,)) for n in range(1, 51)]
    batches = training_batches(rows, 8, np.random.default_rng(0))
    epoch = [next(batches) for _ in range(7)]
    assert sorted(len(row.prompt) for batch in epoch for row in batch) == list(range(1, 51))
    spread = [max(map(length, batch)) - min(map(length, batch)) for batch in epoch]
    assert np.mean(spread) < 12  # 50 without bucketing


def test_training_batches_depend_on_the_seed_alone():
    rows = [TokenizedAnswer((1,) * n, (2,)) for n in range(1, 51)]
    first, again, other = (
        next(training_batches(rows, 8, np.random.default_rng(seed))) for seed in (0, 0, 1)
    )
    assert first == again != other


def test_scoring_batches_are_bounded_and_complete():
    rows = [TokenizedAnswer((1,) * n, (2,)) for n in (5, 90, 3, 40, 40, 200)]
    batches = list(scoring_batches(rows, tokens=100))
    assert sorted(index for batch in batches for index in batch) == list(range(6))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(length(rows[i]) for i in batch) <= 100


def test_padding_side_of_the_tokenizer_does_not_matter(llama):
    row = [TokenizedAnswer((10, 11), (12, 13)), TokenizedAnswer((20,), (21,))]
    llama.tokenizer.padding_side = "left"
    left = Collator.of(llama, 32).batch(row)
    llama.tokenizer.padding_side = "right"
    right = Collator.of(llama, 32).batch(row)
    assert torch.equal(left.inputs["input_ids"], right.inputs["input_ids"])
    assert left.inputs["input_ids"][1].tolist() == [20, 0, 0]
