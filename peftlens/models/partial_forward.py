"""Partial forward pass: run a model up to a block, or from a block on.

Two models that differ only from some block on have the same hidden states below it, so most of a
pass can be saved for many models that differ from one in single blocks.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from peftlens.models.dummy_inputs import random_inputs


class _Reached(Exception):
    """Stops the forward pass at the block and carries its hidden states."""

    def __init__(self, hidden: torch.Tensor) -> None:
        super().__init__()
        self.hidden = hidden


@contextmanager
def stopped_after(model: nn.Module, block: str) -> Iterator[Callable[..., torch.Tensor]]:
    """Yield a function that runs the model up to a block and returns that block's output.

    Args:
        model: any model.
        block: dotted name of a module whose output is hidden states (batch, seq, d); in an
            encoder-decoder, a block of the encoder.
    """

    def stop(_: nn.Module, __: tuple, output: Any) -> None:
        raise _Reached(output[0] if isinstance(output, tuple) else output)

    def run(**inputs: Any) -> torch.Tensor:
        try:
            model(**inputs)
        except _Reached as reached:
            return reached.hidden
        raise RuntimeError(f"the forward pass never reached {block}")

    handle = model.get_submodule(block).register_forward_hook(stop)
    try:
        yield run
    finally:
        handle.remove()


@contextmanager
def recorded_inputs(model: nn.Module, names: Sequence[str]) -> Iterator[list[torch.Tensor]]:
    """Collect the hidden states that enter blocks during one forward pass.

    Args:
        model: the base's model.
        names: dotted names of the blocks, lowest first.

    Yields:
        A list that grows by one tensor per block, (batch, seq, d).
    """
    states: list[torch.Tensor] = []

    def record(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        states.append(args[0] if args else kwargs["hidden_states"])

    handles = [
        model.get_submodule(name).register_forward_pre_hook(record, with_kwargs=True)
        for name in names
    ]
    try:
        yield states
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def resumed(
    model: nn.Module, names: Sequence[str], at: int, states: torch.Tensor
) -> Iterator[None]:
    """Let forward passes start at a block; the blocks below it pass their input on.

    For blocks that return the hidden states alone, as those of transformers 5 do but for a few old
    architectures.

    Args:
        model: the base's model.
        names: dotted names of the blocks, lowest first.
        at: index of the block at which the pass starts.
        states: hidden states that enter this block, shape (batch, seq, d).
    """
    below = [model.get_submodule(name) for name in names[:at]]
    # accelerate replaces `forward` in a base model on several devices
    originals = [vars(block).get("forward") for block in below]

    def enter(
        _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return ((states, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": states})

    block = model.get_submodule(names[at])
    handle = block.register_forward_pre_hook(enter, with_kwargs=True, prepend=True)
    for one in below:
        one.forward = lambda hidden_states, *_, **__: hidden_states
    try:
        yield
    finally:
        handle.remove()
        for one, forward in zip(below, originals, strict=True):
            del one.forward
            if forward is not None:
                one.forward = forward


@torch.no_grad()
def returns_states_alone(model: nn.Module, name: str) -> bool:
    """Whether a block returns its hidden states and nothing else."""
    outputs: list[Any] = []
    handle = model.get_submodule(name).register_forward_hook(
        lambda _, __, output: outputs.append(output)
    )
    try:
        model(**random_inputs(model, 1, 2), use_cache=False)
    finally:
        handle.remove()
    return isinstance(outputs[0], torch.Tensor)
