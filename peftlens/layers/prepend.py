"""Prepend tokens or vectors to every input, for prompts that are not trained by peft."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from peftlens.models.architecture import require_room


def prepend_tokens(model: PreTrainedModel, token_ids: tuple[int, ...]) -> None:
    """Hook the model so that every forward pass reads these tokens first, after a BOS token if any.

    In an encoder-decoder the encoder reads them. A pass that continues a cache already has them.

    Raises:
        InputError: they leave too little room for the input.
    """
    require_room(model, len(token_ids))
    start = model.config.bos_token_id

    def prepend(
        _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if behind_something(kwargs):
            return args, kwargs
        ids = kwargs["input_ids"]
        mask = kwargs.get("attention_mask")
        mask = torch.ones_like(ids) if mask is None else mask
        lead = ids.new_tensor(token_ids).expand(len(ids), -1)
        at = int(start is not None and bool((ids[:, 0] == start).all()))
        inputs = {
            "input_ids": torch.cat([ids[:, :at], lead, ids[:, at:]], dim=1),
            "attention_mask": torch.cat([torch.ones_like(lead), mask], dim=1),
        }
        return args, kwargs | inputs

    model.register_forward_pre_hook(prepend, with_kwargs=True)


def prepend_vectors(
    model: PreTrainedModel, vectors: torch.Tensor | Callable[[int], torch.Tensor | None]
) -> None:
    """Hook the model so that every forward pass reads these vectors first, before any BOS token.

    In an encoder-decoder the encoder reads them. A pass that continues a cache already has them.

    Args:
        model: the model, changed in place by a hook.
        vectors: shape (n, d), rounded to the model's dtype; or a function of the number of rows
            that returns the vectors of each row, (rows, n, d), or None.

    Raises:
        InputError: they leave too little room for the input.
    """
    if isinstance(vectors, torch.Tensor):
        require_room(model, len(vectors))
    embed: Any = model.get_input_embeddings()

    def leading(rows: int) -> torch.Tensor | None:
        return vectors.expand(rows, -1, -1) if isinstance(vectors, torch.Tensor) else vectors(rows)

    def prepend(
        _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        lead = None if behind_something(kwargs) else leading(len(kwargs["input_ids"]))
        if lead is None:
            return args, kwargs
        others = {key: value for key, value in kwargs.items() if key != "input_ids"}
        tokens, mask = embed(kwargs["input_ids"]), kwargs["attention_mask"]
        lead = lead.to(tokens)  # (batch, n, d)
        return args, others | {
            "inputs_embeds": torch.cat([lead, tokens], dim=1),
            "attention_mask": torch.cat([mask.new_ones(lead.shape[:2]), mask], dim=1),
        }

    model.register_forward_pre_hook(prepend, with_kwargs=True)


def behind_something(inputs: dict[str, Any]) -> bool:
    """Whether a forward pass continues a nonempty cache."""
    cache = inputs.get("past_key_values")
    return cache is not None and cache.get_seq_length() > 0
