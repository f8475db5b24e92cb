import pytest
import torch
from tiny import Stack, build

from peftlens.errors import InputError
from peftlens.methods.fish_mask import Config, attach, calibrate, trainable_parameters
from peftlens.models.architecture import shapes

WEIGHTS = [[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0]]
# each example's gradient by entry; sums of squares: 9, 8, 0, 1 and 2, 25
GRADIENTS = [
    ([[3.0, 2.0], [0.0, 1.0]], [[1.0, 0.0]]),
    ([[0.0, -2.0], [0.0, 0.0]], [[1.0, 5.0]]),
]


def losses(model):
    for gradients in GRADIENTS:
        yield sum(
            (layer.weight * torch.tensor(gradient)).sum()
            for layer, gradient in zip(model.layers, gradients, strict=True)
        )


def chosen(examples):
    config = Config(density=1 / 3, examples=examples)
    model = attach(Stack(*WEIGHTS), config)
    calibrate(model, config, losses(model))
    with torch.no_grad():
        model.sparse_update.values.fill_(10.0)
    return model


def test_places_are_those_of_the_largest_sums_of_squared_gradients():
    # the sum of absolute gradients (3, 4) or of gradients (3, 0) would rank the first two otherwise
    assert chosen(2).weights() == [[[11.0, 2.0], [3.0, 4.0]], [[5.0, 16.0]]]


def test_no_more_examples_are_looked_at_than_asked_for():
    assert chosen(1).weights() == [[[11.0, 12.0], [3.0, 4.0]], [[5.0, 6.0]]]


def test_afterwards_only_the_update_learns():
    model = chosen(2)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained == ["sparse_update.values"]
    assert all(p.grad is None for p in model.parameters())


def test_on_a_real_forward_pass():
    config = Config(density=0.01, examples=2)
    model = attach(build("llama"), config)
    ids = torch.tensor([[5, 6, 7]])
    calibrate(model, config, (model(input_ids=ids, labels=ids).loss for _ in range(3)))
    assert len(model.sparse_update.places.unique()) == 276
    assert not torch.equal(model.sparse_update.places, torch.arange(276))


def test_count_by_hand():
    entries = 3 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 64 * 32)
    found = trainable_parameters(Config(density=0.01), shapes(build("llama")))
    assert found == round(0.01 * entries) == 276


def test_no_example():
    with pytest.raises(InputError, match="examples=0 must be .* at least 1"):
        trainable_parameters(Config(examples=0), shapes(build("llama")))
