"""Prepend tokens or vectors to every input, for prompts that are not trained by peft."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from peftlens.models.architecture import require_room, task_type
from peftlens.models.heads import head_modules
from peftlens.models.model_kind import kind_of
from peftlens.models.snapshot import restored_after


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
        if types := {k: v for k, v in others.items() if k == "token_type_ids"}:
            front = types["token_type_ids"].new_zeros(lead.shape[:2])
            types["token_type_ids"] = torch.cat([front, types["token_type_ids"]], dim=1)
        return args, others | types | {
            "inputs_embeds": torch.cat([lead, tokens], dim=1),
            "attention_mask": torch.cat([mask.new_ones(lead.shape[:2]), mask], dim=1),
        }

    model.register_forward_pre_hook(prepend, with_kwargs=True)
    pool_last_tokens(model)


@contextmanager
def behind_vectors(model: PreTrainedModel, vectors: torch.Tensor) -> Iterator[None]:
    """Let every forward pass read these vectors first, as `prepend_vectors` does, at less cost.

    A decoder computes their keys and values once, for all rows of all passes of the block.

    Args:
        model: the model, which does not change within the block.
        vectors: shape (n, d), rounded to the model's dtype; n may be 0. They and the input must fit
            into the context.
    """
    if not len(vectors):
        yield
        return
    if not continues_caches(model):
        with restored_after(model):
            prepend_vectors(model, lambda rows: vectors.expand(rows, -1, -1))
            yield
        return
    handle = model.register_forward_pre_hook(_after(_read(model, vectors)), with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@torch.inference_mode()
def _read(model: PreTrainedModel, vectors: torch.Tensor) -> Any:
    """Return the cache of a pass over the vectors, of one row."""
    embed: Any = model.get_input_embeddings()
    body: Any = model.base_model
    inputs = vectors[None].to(embed.weight.device, model.dtype)  # (1, n, d)
    return body(inputs_embeds=inputs, use_cache=True).past_key_values


def _after(cache: Any) -> Callable[..., Any]:
    """Return a hook that lets a pass continue a cache of one row, which stays as it is."""

    def go_on(
        _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if behind_something(kwargs):
            return args, kwargs
        own, mask = deepcopy(cache), kwargs["attention_mask"]
        own.batch_repeat_interleave(len(mask))
        front = mask.new_ones(len(mask), cache.get_seq_length())  # (batch, n)
        return args, kwargs | {
            "attention_mask": torch.cat([front, mask], dim=1),
            "past_key_values": own,
            "use_cache": True,
        }

    return go_on


def pool_last_tokens(model: PreTrainedModel) -> None:
    """Hook a decoder's new head for texts so that it reads each row's last token behind vectors.

    transformers finds a row's last token by its ids, and takes the last position where it is given
    vectors in their place: of a row that is shorter than others of its batch, padding.
    """
    if kind_of(model.config) == "encoder" or "score" not in head_modules(model):
        return
    if task_type(model) != "SEQ_CLS":
        return
    masks: list[torch.Tensor] = []  # (batch, seq) of the pass at hand; none where ids are given

    def remember(_: nn.Module, __: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        by_vectors = kwargs.get("inputs_embeds") is not None and "attention_mask" in kwargs
        masks[:] = [kwargs["attention_mask"]] if by_vectors else []

    def pool(_: nn.Module, __: tuple[Any, ...], logits: torch.Tensor) -> torch.Tensor:
        if not masks:
            return logits
        places = torch.arange(logits.shape[1], device=logits.device)
        last = (places * (masks[0] != 0).to(logits.device)).argmax(dim=1)  # (batch,)
        return logits.take_along_dim(last[:, None, None], dim=1)  # (batch, 1, C)

    model.register_forward_pre_hook(remember, with_kwargs=True)
    model.get_submodule("score").register_forward_hook(pool)


def continues_caches(model: Any) -> bool:
    """Whether passes can go on from keys and values of vectors that were read before."""
    keeps_a_state = getattr(model, "_is_stateful", False)  # instead of keys and values
    return kind_of(model.config) == "decoder" and not head_modules(model) and not keeps_a_state


def behind_something(inputs: dict[str, Any]) -> bool:
    """Whether a forward pass continues a nonempty cache."""
    cache = inputs.get("past_key_values")
    return cache is not None and cache.get_seq_length() > 0
