import pytest
import torch
from tiny import build

from peftlens.models.architecture import blocks, shapes
from peftlens.models.partial_forward import (
    recorded_inputs,
    resumed,
    returns_states_alone,
    stopped_after,
)


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


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("at", [0, 1])
def test_a_pass_resumes_at_a_block(kind, at):
    model = build(kind)
    names = blocks(shapes(model))
    ids = torch.tensor([[5, 6, 7], [9, 8, 4]])
    with torch.inference_mode():
        with recorded_inputs(model, names) as states:
            whole = model(ids).logits
        assert len(states) == len(names)
        with resumed(model, names, at, states[at]):
            assert torch.equal(model(ids + 1).logits, whole)  # the input is not read again
        assert not torch.equal(model(ids + 1).logits, whole)


def test_a_resumed_pass_does_not_run_the_blocks_below():
    model = build("llama")
    names = blocks(shapes(model))
    model.model.layers[0].mlp.forward = lambda *_: pytest.fail("ran")
    with resumed(model, names, 2, torch.zeros(1, 3, 32)):
        model(torch.tensor([[5, 6, 7]]))


def test_blocks_that_return_more_are_told_apart():
    assert returns_states_alone(build("llama"), "model.layers.0")
    assert not returns_states_alone(build("t5"), "encoder.block.0")
