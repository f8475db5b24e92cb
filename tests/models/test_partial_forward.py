import pytest
import torch
from tiny import build

from peftlens.models.partial_forward import stopped_after


def test_the_block_above_never_runs():
    model = build("llama")
    ids = torch.tensor([[5, 6, 7]])
    expected = model(ids, output_hidden_states=True).hidden_states[1]
    hooks = len(model.model.layers[0]._forward_hooks)
    model.model.layers[1].forward = lambda *_, **__: pytest.fail("ran on")
    with stopped_after(model, "model.layers.0") as run:
        assert torch.equal(run(input_ids=ids), expected)
    assert len(model.model.layers[0]._forward_hooks) == hooks


def test_a_block_that_is_never_reached_is_told():
    model = build("llama")
    model.model.layers[1].forward = lambda hidden, **_: hidden
    with (
        stopped_after(model, "model.layers.1.mlp") as run,
        pytest.raises(RuntimeError, match="never reached model.layers.1.mlp"),
    ):
        run(input_ids=torch.tensor([[5]]))
