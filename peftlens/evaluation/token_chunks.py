"""Token chunks: computing over logits (t, V) for a few tokens at a time, which is much faster.

A chunk stays in the processor's cache. Temporary tensors of all logits of a batch would be written
to memory that the system has to hand out, and clear, each time: for 49,152 words the divergence of
two models then takes seven times as long. Each row is computed for itself, so that nothing depends
on the size of a chunk.
"""

from collections.abc import Iterator

import torch
from torch import nn

_CACHED = 2**19  # numbers of a chunk: 2 MB in float32
_ON_DEVICE = 2**24  # of a chunk on a GPU, where small ones would leave it idle


def chunks(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield the same rows of every tensor, as many as fit, of shape (t, V) each or (t,).

    Logits are in float32.
    """
    first = tensors[0]
    numbers = _CACHED if first.device.type == "cpu" else _ON_DEVICE
    rows = max(1, numbers // first.shape[-1])
    for parts in zip(*(one.split(rows) for one in tensors), strict=True):
        yield tuple(one.float() if one.is_floating_point() else one for one in parts)


def token_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Compute the cross-entropy of every token in float32, nats, shape (t,).

    Args:
        logits: shape (t, V), any dtype.
        targets: ids of the tokens, shape (t,).
    """
    found = [
        nn.functional.cross_entropy(part, right, reduction="none")
        for part, right in chunks(logits, targets.to(logits.device))
    ]
    return torch.cat(found)
