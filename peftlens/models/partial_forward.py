"""Partial forward pass: run a model up to a block and return its hidden states."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


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
