"""Replace hidden states during a forward pass: reading through the head, and patchscopes.

The head's reading of a vector (logit lens, nostalgebraist 2020) is the model's own: the vector
takes the place of the last block's output, so that the final norm, projections, scales and caps
of any architecture apply.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from peftlens.models.architecture import blocks
from peftlens.models.base_model import BaseModel

_AT_ONCE = 64  # vectors in a forward pass


@contextmanager
def replaced(model: nn.Module, block: str, position: int, vectors: torch.Tensor) -> Iterator[None]:
    """Replace a block's output at one position by a vector for each row of the batch.

    Args:
        model: any model.
        block: dotted name of the block.
        position: index of the position; negative from the end.
        vectors: shape (batch, d).
    """

    def put(_: nn.Module, __: Any, output: Any) -> Any:
        hidden = (output[0] if isinstance(output, tuple) else output).clone()  # (batch, seq, d)
        hidden[:, position] = vectors.to(hidden)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handle = model.get_submodule(block).register_forward_hook(put)
    try:
        yield
    finally:
        handle.remove()


@torch.inference_mode()
def head_logits(base: BaseModel, vectors: torch.Tensor) -> torch.Tensor:
    """Read vectors of the residual stream through the base's final norm and head.

    Args:
        base: base model without an attached method.
        vectors: shape (n, d).

    Returns:
        Logits, float32, shape (n, V), minus their mean over the vocabulary.
    """
    last = blocks(base.shapes)[-1]
    dummy = base.tokenizer.eos_token_id or 0
    parts = []
    for part in vectors.to(base.device).split(_AT_ONCE):
        ids = torch.full((len(part), 1), dummy, device=base.device)
        with replaced(base.model, last, 0, part):
            logits = base.model(input_ids=ids, use_cache=False).logits[:, 0].float()  # (batch, V)
        parts.append(logits - logits.mean(dim=-1, keepdim=True))
    return torch.cat(parts)
