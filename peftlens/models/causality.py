"""Causality of a base model: its logits must not depend on later tokens.

Encoders are recognized by their configuration (model_kind.py). Where it says nothing, the model
itself is asked: its later tokens are replaced by others, and the logits before them are compared.
"""

from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import InputError
from peftlens.models.loading import reported_as

_TOKENS = 8  # length of the test's input
_KEPT = 5  # positions before the replaced tokens


def require_causal(model: PreTrainedModel, what: str) -> None:
    """Refuse a model that can't be run, or whose logits depend on later tokens.

    Args:
        model: model in evaluation mode; in an encoder-decoder, the decoder is tested.
        what: name of the model, for messages.

    Raises:
        InputError: it is not causal, or its forward pass fails.
    """
    with reported_as(f"base {what!r} can't be run"):
        size = cast("nn.Embedding", model.get_input_embeddings()).weight.shape[0]
        ids = torch.arange(_TOKENS, device=model.device)[None] * 7 % size  # (1, seq)
        replaced = ids.clone()
        replaced[:, _KEPT:] = (ids[:, _KEPT:] + 1 + size // 2) % size
        with torch.no_grad():
            first, second = (_logits(model, row)[:, :_KEPT] for row in (ids, replaced))
        sees_ahead = not torch.equal(first, second) and _reads_later(model, ids, first, second)
    if not torch.isfinite(first).all():
        raise InputError(f"base {what!r}: its logits are not finite; use another copy or dtype")
    if sees_ahead:
        raise InputError(
            f"base {what!r} is not a causal language model: its logits depend on later tokens, as "
            "in an encoder; use a decoder or an encoder-decoder"
        )


def require_finite_outputs(model: PreTrainedModel, what: str) -> None:
    """Refuse a model that can't be run, or whose outputs are not finite.

    Raises:
        InputError: its forward pass fails, or its logits or hidden states are NaN or infinite.
    """
    with reported_as(f"base {what!r} can't be run"):
        size = cast("nn.Embedding", model.get_input_embeddings()).weight.shape[0]
        ids = torch.arange(_TOKENS, device=model.device)[None] * 7 % size  # (1, seq)
        with torch.no_grad():
            output = model(input_ids=ids, attention_mask=torch.ones_like(ids))[0]
    if not torch.isfinite(output).all():
        raise InputError(f"base {what!r}: its outputs are not finite; use another copy or dtype")


def _logits(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    """Logits (1, seq, V) of the decoder's tokens; an encoder reads the same ones each time."""
    config: Any = model.config
    if config.is_encoder_decoder:
        read = torch.arange(_TOKENS, device=ids.device)[None] % int(ids.max() + 1)
        return model(input_ids=read, decoder_input_ids=ids).logits
    return model(input_ids=ids).logits


def _reads_later(
    model: PreTrainedModel, ids: torch.Tensor, first: torch.Tensor, second: torch.Tensor
) -> bool:
    """Decide whether a difference is more than rounding.

    Experts compute the tokens of a batch in groups, so that other tokens change how sums are
    rounded; the gradient of an earlier logit by a later embedding is exactly zero all the same.
    """
    if (first - second).abs().max() > 0.1 * first.abs().max():
        return True
    try:
        return _later_gradient(model, ids) > 0
    except (RuntimeError, NotImplementedError):  # quantized layers without a gradient
        rounding = 16 * torch.finfo(first.dtype).eps
        return bool((first - second).abs().max() > rounding * first.abs().max())


def _later_gradient(model: PreTrainedModel, ids: torch.Tensor) -> float:
    """Largest derivative of the earlier logits' sum of squares by a later token's embedding."""
    seen: list[torch.Tensor] = []

    def keep(_: nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
        seen.append(output.detach().requires_grad_(True))
        return seen[-1]

    embeddings = cast("nn.Module", model.get_input_embeddings())
    handle = embeddings.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            loss = _logits(model, ids)[:, :_KEPT].float().square().sum()
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(loss, seen[-1])  # (1, seq, d); a decoder embeds last
    return float(gradient[:, _KEPT:].abs().max())
