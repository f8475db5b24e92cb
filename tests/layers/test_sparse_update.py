import pytest
import torch
from tiny import Stack, build

from peftlens.errors import InputError
from peftlens.layers.sparse_update import add_sparse_update, kept, weights_of
from peftlens.models.architecture import shapes

WEIGHTS = [[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0]]


def test_values_are_added_at_their_places_and_nowhere_else():
    model = add_sparse_update(Stack(*WEIGHTS), ("all_linear",), torch.tensor([4, 1]))
    assert model.weights() == [*WEIGHTS]
    with torch.no_grad():
        model.sparse_update.values.copy_(torch.tensor([10.0, 20.0]))
    # places are kept in order: 1 lies in the first weight, 4 is the second one's first
    assert model.weights() == [[[1.0, 12.0], [3.0, 4.0]], [[25.0, 6.0]]]


def test_only_the_values_learn():
    model = add_sparse_update(Stack(*WEIGHTS), ("all_linear",), torch.tensor([1, 4]))
    second = model.layers[1](model.layers[0](torch.tensor([1.0, 10.0])))
    second.sum().backward()
    trained = {name: p.grad.tolist() for name, p in model.named_parameters() if p.requires_grad}
    # of the first weight's upper right entry: 5 * 10; of the second's left one: 1 + 20
    assert trained == {"sparse_update.values": [50.0, 21.0]}


def test_originals_stay_in_their_dtype_and_memory():
    model = build("llama").to(torch.bfloat16)
    layer = model.model.layers[0].self_attn.v_proj
    memory = layer.weight.data_ptr()
    add_sparse_update(model, ("v_proj",), torch.tensor([0]))
    with torch.no_grad():
        model.sparse_update.values.fill_(3.0)
    assert layer.parametrizations.weight.original.data_ptr() == memory
    assert layer.weight.dtype == torch.bfloat16
    assert model.sparse_update.values.dtype == torch.float32


def test_places_count_through_the_models_own_order():
    assert list(weights_of(build("llama"), ("v_proj", "q_proj"))) == [
        f"model.layers.{block}.self_attn.{end}.weight"
        for block in range(3)
        for end in ("q_proj", "v_proj")
    ]


@pytest.mark.parametrize(("density", "expected"), [(1, 1536), (0.01, 15), (1 / 1536, 1)])
def test_share_of_all_adapted_entries(density, expected):
    # v of 16 x 32, three blocks: 1536 entries
    assert kept(shapes(build("llama")), ("v_proj",), density) == expected


@pytest.mark.parametrize("density", [0, -1, 1 / 1537, 1.001, float("nan")])
def test_share_that_can_not_work(density):
    with pytest.raises(InputError, match="density=.* must lie between 0.000651042 and 1"):
        kept(shapes(build("llama")), ("v_proj",), density)
