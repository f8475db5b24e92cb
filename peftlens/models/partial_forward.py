"""A forward pass that goes only as far as is needed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class _Reached(Exception):
    """Carries the hidden states out of the model, past all that lies above."""

    def __init__(self, hidden: torch.Tensor) -> None:
        super().__init__()
        self.hidden = hidden


@contextmanager
def stopped_after(model: nn.Module, block: str) -> Iterator[Callable[..., torch.Tensor]]:
    """Let the model run up to a block: a function of its inputs that returns that block's output.

    Args:
        model: any model; of an encoder-decoder, a block of the encoder.
        block: the dotted name of one of its modules, whose output is hidden states (B, T, d).
    """

    def stop(_: nn.Module, __: tuple, output: Any) -> None:
        raise _Reached(output[0] if isinstance(output, tuple) else output)

    def run(**inputs: Any) -> torch.Tensor:
        try:
            model(**inputs)
        except _Reached as reached:
            return reached.hidden
        raise RuntimeError(f"the forward pass never came to {block}")

    handle = model.get_submodule(block).register_forward_hook(stop)
    try:
        yield run
    finally:
        handle.remove()
