from itertools import islice

from peftlens.data.collate import Collator
from peftlens.data.tokenization import TokenizedAnswer, TokenizedExample
from peftlens.runs.config import TrainingConfig
from peftlens.training.data_loader import TrainingLoader


def loader(llama, **training):
    items = [
        TokenizedExample(
            n, (TokenizedAnswer((5, n), (7,)), TokenizedAnswer((5, n), (8,))), 1, (1, 1)
        )
        for n in range(10)
    ]
    return TrainingLoader.of(Collator.of(llama, 32), items, TrainingConfig(**training))


def test_the_right_answers_are_read_each_once_an_epoch(llama):
    one = loader(llama, batch_size=2, gradient_accumulation_steps=5, max_steps=3)
    assert {row.answer for row in one.rows} == {(8,)}
    assert one.epochs == 3
    for parts in islice(one.steps(0), 3):
        assert [len(part) for part in parts] == [2] * 5
        assert sorted(row.prompt[1] for part in parts for row in part) == list(range(10))


def test_the_seed_decides_the_order(llama):
    one = loader(llama, batch_size=2)
    first, again, other = (list(islice(one.steps(seed), 5)) for seed in (0, 0, 1))
    assert first == again != other


def test_without_a_cache_a_pass_starts_at_the_lowest_block(llama):
    one = loader(llama)
    with one.skipping_frozen_blocks(one.rows[:2]):
        assert "forward" not in vars(llama.model.model.layers[0])
