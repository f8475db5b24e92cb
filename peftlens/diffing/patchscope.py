"""Patchscope: a vector put into a neutral frame, whose next tokens say what it stands for.

The frame repeats words, "cat→cat; hello→hello; ?", so that the model is about to repeat whatever
stands at its last position. The vector takes the place of the state there after one block of the
base, scaled to that state's length. Source: Ghandeharioun et al. 2024, arXiv:2401.06102, section
4.2; of soft prompts: Ramati et al. 2024, arXiv:2410.11660.
"""

from copy import deepcopy
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache

from peftlens.data.tokenization import text_ids
from peftlens.diffing.hidden_states import recorded, text_blocks
from peftlens.diffing.patching import replaced
from peftlens.models.base_model import BaseModel

FRAME = "cat→cat; 1135→1135; hello→hello; ?"
_AT_ONCE = 32  # vectors in a forward pass
_RANDOM = 8  # random directions in each block, whose mean reading is that of the frame itself


@torch.inference_mode()
def patched_logits(base: BaseModel, layer: int, vectors: torch.Tensor) -> torch.Tensor:
    """Return the logits of the frame's next token with each vector in its last position.

    Args:
        base: base model without an attached method.
        layer: index of the block behind which the vector is put.
        vectors: shape (n, d), of any length but zero.

    Returns:
        Logits, float32, shape (n, V), minus their mean over the vocabulary, on the CPU.
    """
    block = text_blocks(base)[layer]
    ids = torch.tensor([text_ids(base.tokenizer, FRAME)], device=base.device)  # (1, seq)
    length = _own_state(base, block, ids).norm()
    before = _before_last(base.model, ids)
    seen = ids[:, -1:] if before else ids
    parts = []
    for part in nn.functional.normalize(vectors.float()).to(base.device).split(_AT_ONCE):
        rows = {"input_ids": seen.expand(len(part), -1)}
        if before:
            cache = deepcopy(before)
            cache.batch_repeat_interleave(len(part))
            rows |= {"past_key_values": cache}
        with replaced(base.model, block, -1, part * length):
            logits = base.model(**rows, use_cache=bool(before)).logits[:, -1].float()  # (n, V)
        parts.append((logits - logits.mean(dim=-1, keepdim=True)).cpu())
    return torch.cat(parts)


def _before_last(model: Any, ids: torch.Tensor) -> DynamicCache | None:
    """Return the cache of all tokens but the last, which no vector changes.

    None for a model that keeps something else than keys and values.
    """
    cache = getattr(model(input_ids=ids[:, :-1], use_cache=True), "past_key_values", None)
    if type(cache) is not DynamicCache:
        return None
    known = all(getattr(layer, "keys", None) is not None for layer in cache.layers)
    return cache if known else None


def mean_random_logits(base: BaseModel, layer: int) -> torch.Tensor:
    """Average `patched_logits` over random directions, shape (V,); cached."""

    def compute() -> torch.Tensor:
        width = _own_state(base, text_blocks(base)[layer], torch.tensor([[0]])).shape[-1]
        rng = torch.Generator().manual_seed(layer)
        return patched_logits(base, layer, torch.randn(_RANDOM, width, generator=rng)).mean(dim=0)

    return base.derived("random patches", compute, key=layer, most=64)


@torch.inference_mode()
def _own_state(base: BaseModel, block: str, ids: torch.Tensor) -> torch.Tensor:
    """Return the state of the last position after a block, shape (d,), float32."""
    last = torch.zeros_like(ids, dtype=torch.bool)
    last[:, -1] = True
    with recorded(base.model, [block], last) as states:
        base.model(input_ids=ids.to(base.device), use_cache=False)
    return states[0][0].float()


@torch.inference_mode()
def virtual_states(model: nn.Module, base: BaseModel, count: int) -> torch.Tensor:
    """Return the states of a soft prompt's virtual tokens after each block, (L, count, d), float32.

    Args:
        model: model with the soft prompt attached.
        base: its base model.
        count: number of virtual tokens, which causal attention lets see nothing but one another.
    """
    ids = torch.tensor([[base.tokenizer.eos_token_id or 0]], device=base.device)
    everything = torch.ones(1, count + 1, dtype=torch.bool, device=base.device)
    with recorded(base.model, text_blocks(base), everything) as states:
        model(input_ids=ids, attention_mask=torch.ones_like(ids))
    return torch.stack(states)[:, :count].float()
